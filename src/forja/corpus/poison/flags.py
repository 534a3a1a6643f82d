"""A flag: what kind of poison a document may hold, and the evidence for it. Nothing here decides what happens then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REPORT_ONLY = frozenset({"instructions-discussed", "unicode-homoglyphs-few"})
"""Kinds that say something about a document but are no reason to leave it out."""
SHOWN = 160
"""Characters of a text that evidence quotes at most."""


@dataclass(frozen=True)
class Flag:
    """`kind` names the finding; `evidence` is small JSON: what was found, where (in characters), how often."""

    kind: str
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def quarantines(self) -> bool:
        """Whether a document is left out for this flag."""
        return self.kind not in REPORT_ONLY

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.evidence}


def excerpt(text: str, start: int, end: int, around: int = 24) -> str:
    """text[start:end] and a little on both sides, invisible characters written as escapes."""
    piece = text[max(0, start - around) : min(len(text), end + around, start + SHOWN)]
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode() for sign in piece
    )
