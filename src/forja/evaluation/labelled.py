"""Labelled texts to measure a classifier on: read from any table, matched to its labels, and without those that it was
trained on. What is made of them is in `tasks/classification.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forja.corpus.dedup import exact_key, normalise
from forja.corpus.rows import Row, read_rows
from forja.errors import ForjaError

TEXT_COLUMNS = ("text", "sentence", "content", "body", "message")
LABEL_COLUMNS = ("label", "class", "target", "category")
GROUP_COLUMNS = ("language", "lang", "region", "sender_region", "account_type", "group")
"""Columns that name groups of people, by which a classifier should not tell."""
SPELLINGS = {"true": "1", "false": "0"}

IN_TRAINING = "its text is in the training or validation examples"
TWICE = "its text is in the data twice"
NO_TEXT = "it has no text"


@dataclass(frozen=True)
class Labelled:
    """A text and the place of its label among the classifier's; groups: by the columns that name them."""

    id: str
    text: str
    label: int
    source: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What is left to measure on, and how many rows were removed, by reason."""

    rows: list[Labelled]
    removed: dict[str, int]


def read_labelled(paths: Sequence[Path], labels: Sequence[str], *, empty: bool = False) -> list[Labelled]:
    """Every row of the files. A row's id is its own where it has one, else told by its text. Raises ForjaError for
    columns that are not there, a row without label, labels that the classifier does not know, and, unless they may
    be `empty`, for no rows at all.
    """
    found: list[Labelled] = []
    unknown: Counter[str] = Counter()
    where = ""
    for path in paths:
        for row in read_rows(path):
            text, told = _column(row, TEXT_COLUMNS, path), _column(row, LABEL_COLUMNS, path)
            if _absent(row.fields[told]):
                raise ForjaError(
                    "this row has no label.", where=f"{path}, row {row.number}", fix="Give it one, or take it out."
                )
            place = match_label(row.fields[told], labels)
            if place is None:
                unknown[str(row.fields[told])] += 1
                where = str(path)
            else:
                found.append(_labelled(row, text, place, path if len(paths) > 1 else None))
    if unknown:
        named = ", ".join(f"{label!r} ({count:,} rows)" for label, count in unknown.most_common(8))
        raise ForjaError(
            f"the data has labels that the classifier does not know: {named}.",
            where=where,
            fix=f"It knows {', '.join(map(repr, labels))}.",
        )
    if not found and not empty:
        raise ForjaError("there are no rows.", where=", ".join(map(str, paths)))
    return found


def match_label(value: Any, labels: Sequence[str]) -> int | None:
    """The place of a label, by its name; 1, 1.0, "1" and true are the same, and so is lower case."""
    if str(value) in labels:
        return list(labels).index(str(value))
    spelling = _spelling(value)
    return next((place for place, label in enumerate(labels) if _spelling(label) == spelling), None)


def _spelling(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    spelling = str(value).strip().lower().removesuffix(".0")
    return SPELLINGS.get(spelling, spelling)


def without_seen(rows: Iterable[Labelled], examples: Iterable[Path]) -> Kept:
    """The rows that are news: without those whose text, laid out however, is in these files of examples, or came
    before. Files that are not there hold nothing."""
    seen = {
        _digest(row.fields["text"])
        for path in examples
        if path.is_file()
        for row in read_rows(path)
        if isinstance(row.fields.get("text"), str)
    }
    kept: list[Labelled] = []
    here: set[bytes] = set()
    removed: Counter[str] = Counter()
    for row in rows:
        digest = _digest(row.text)
        reason = None
        if not row.text.strip():
            reason = NO_TEXT
        elif digest in seen:
            reason = IN_TRAINING
        elif digest in here:
            reason = TWICE
        here.add(digest)
        if reason is None:
            kept.append(row)
        else:
            removed[reason] += 1
    return Kept(kept, dict(removed))


def _digest(text: str) -> bytes:
    return exact_key(normalise(text).decode("utf-8", "replace"))


def _column(row: Row, names: Sequence[str], path: Path) -> str:
    """The first of these columns that the row has, however it is written."""
    known = {name.strip().lower(): name for name in row.fields}
    for name in names:
        if name in known:
            return known[name]
    raise ForjaError(
        f"there is no column {names[0]} (or {', '.join(names[1:])}); there are {', '.join(map(repr, row.fields))}.",
        where=f"{path}, row {row.number}",
        fix=f"Name one of them {names[0]}.",
    )


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or not str(value).strip()


def _labelled(row: Row, text_column: str, label: int, origin: Path | None) -> Labelled:
    value = row.fields[text_column]
    text = "" if value is None else str(value)
    own = row.fields.get("id")
    source = row.fields.get("source")
    if _absent(source):
        source = origin.name.split(".")[0] if origin is not None else None
    name = _digest(text).hex() if _absent(own) else str(own)
    return Labelled(name, text, label, str(source) if source else None, _groups(row.fields))


def _groups(fields: Mapping[str, Any]) -> dict[str, str]:
    """Values of the group columns: the row's own, and those that examples keep in a column `groups`."""
    kept = fields.get("groups") or {}
    if isinstance(kept, str):
        kept = json.loads(kept)
    whole = {**dict(kept), **fields}
    return {name: "" if _absent(whole[name]) else str(whole[name]) for name in GROUP_COLUMNS if name in whole}
