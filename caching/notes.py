"""What a person should know of a run, as stable words and values; its sentence is made where it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Note:
    """A remark: its `code` names the sentence in `locales/*/main.json`, `values` fill the sentence's gaps."""

    code: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the note as JSON-ready values."""
        return {"code": self.code, "values": dict(self.values)}
