"""What every source gives: raw records, in a fixed order, not yet cleaned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Form = Literal[
    "text",
    "string",
    "html",
    "python",
    "metadata",
    "roff",
    "mail",
    "wikitext",
    "cve",
    "nvd",
    "kev",
    "stix",
    "capec",
    "cwe",
    "sigma",
]


@dataclass(frozen=True)
class Record:
    """One raw record.

    origin: path relative to the source, and the record's number or URL. raw: its bytes, which the
    document's id is made of. text: what a `string` record says; other forms make it of `raw`.
    reason: why it is rejected before cleaning, if it is.
    """

    origin: str
    raw: bytes
    form: Form = "text"
    reason: str | None = None
    date: str | None = None
    lang: str | None = None
    licence: str | None = None
    author: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


def rejected(origin: str, reason: str, raw: bytes = b"", *, error: str | None = None) -> Record:
    """A record that is not one; `error` says more than the reason, and is kept in `meta`."""
    return Record(origin, raw, reason=reason, meta={"error": error} if error else {})
