"""Remembers what each workflow's runs looked for, so that it samples again once its own table changed.

The host asks whether a node would do something else before it knows the node's model. Then the looks of the
runs before tell: each is looked up anew, and compared with what it found when the run began (ours).
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import RLock

from ...calibration.table import TableError
from . import files as table_files
from .choice import Choice, Wanted, automatic_choice

MOST_WORKFLOWS = 256
MOST_LOOKS = 64  # of one workflow: other steps, sizes and guidance look for other things


@dataclass(slots=True)
class _Asked:
    """What one workflow's runs looked for, and found; `state` is another word after every change of that."""

    state: str
    found: dict[Wanted, str] = field(default_factory=dict)
    files: str | None = None  # all table files, as they were when this was last compared


class Lookups:
    """The looks of the workflows that ran last, by what leads to their models.

    No word is ever used twice, not even in another process: what was forgotten counts as changed.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[str, _Asked] = OrderedDict()
        self._lock = RLock()
        self._words = self._new_words()

    @staticmethod
    def _new_words() -> Iterator[str]:
        session = uuid.uuid4().hex
        for number in itertools.count():
            yield f"{session} {number}"

    def state(self, workflow: str) -> str:
        """Return a word that stays the same as long as a workflow's runs would find what they found."""
        with self._lock:
            asked, files = self._of(workflow), table_files.stamp()
            if asked.files != files:
                now = {wanted: _stamp(_choice(wanted)) for wanted in asked.found}
                if now != asked.found:
                    asked.state, asked.found = next(self._words), now
                asked.files = files
            return asked.state

    def note(self, workflow: str, wanted: Wanted, choice: Choice | None) -> None:
        """Take note of what a run looked for, and of what it found."""
        with self._lock:
            asked, found = self._of(workflow), _stamp(choice)
            known = asked.found.setdefault(wanted, found)
            if known != found or len(asked.found) > MOST_LOOKS:
                asked.state, asked.found = next(self._words), {**asked.found, wanted: found}
            while len(asked.found) > MOST_LOOKS:
                del asked.found[next(iter(asked.found))]
            asked.files = None

    def _of(self, workflow: str) -> _Asked:
        if workflow not in self._held:
            self._held[workflow] = _Asked(next(self._words))
        self._held.move_to_end(workflow)
        while len(self._held) > MOST_WORKFLOWS:
            self._held.popitem(last=False)
        return self._held[workflow]


def _choice(wanted: Wanted) -> Choice | None:
    with contextlib.suppress(TableError, OSError):
        return automatic_choice(wanted)
    return None


def _stamp(choice: Choice | None) -> str:
    """Name a table file as it is now, empty for none."""
    with contextlib.suppress(TableError, OSError):
        return "" if choice is None else table_files.stamp([choice.name])
    return "gone"


LOOKUPS = Lookups()
