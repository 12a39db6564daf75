"""Finds a guider's positive and negative prompt in the model calls of an evaluation, whatever their order."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

POSITIVE, NEGATIVE = "positive", "negative"


@dataclass(frozen=True, slots=True)
class Prompts:
    """The host's ids of a guider's own conds, as they are when a run begins."""

    positive: frozenset[Hashable]
    negative: frozenset[Hashable]

    @classmethod
    def of(cls, guider: Any) -> Prompts:
        """Read the ids off a guider; a prompt that it does not have is empty."""
        conds = getattr(guider, "conds", None)
        held = conds if isinstance(conds, Mapping) else {}
        return cls(*(frozenset(_ids(held.get(name))) for name in (POSITIVE, NEGATIVE)))

    def slots(self, conds: Sequence[list[dict[str, Any]] | None]) -> dict[str, int]:
        """Return the first slot of a call that computes each prompt, as far as there is one.

        A slot's first cond tells: behind it the host appends copies of the other prompt's areas under their
        ids.
        """
        found: dict[str, int] = {}
        for slot, cond in enumerate(conds):
            first = cond[0].get("uuid") if cond else None
            for name, ids in ((POSITIVE, self.positive), (NEGATIVE, self.negative)):
                if first in ids:
                    found.setdefault(name, slot)
        return found


def _ids(entries: Any) -> Iterator[Hashable]:
    """Yield the ids of a guider's conds; what another pack keeps in their place has none."""
    if isinstance(entries, list | tuple):
        yield from (entry["uuid"] for entry in entries if isinstance(entry, Mapping) and "uuid" in entry)
