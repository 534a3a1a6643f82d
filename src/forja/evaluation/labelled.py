"""Labelled texts to measure a classifier on: matched to its labels, and without those that it has seen.

How rows become texts and labels is the examples' business, so that a text is measured as it would be trained on; what
is made of the measure is in `tasks/classification.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forja.corpus.dedup import exact_key, normalise
from forja.corpus.examples.build import load_examples
from forja.corpus.examples.layouts import Example, label_name, read_examples
from forja.errors import ForjaError

GROUP_COLUMNS = ("language", "lang", "region", "sender_region", "account_type", "group")
"""Columns that name groups of people, by which a classifier should not tell."""
SPELLINGS = {"true": "1", "false": "0"}

IN_TRAINING = "its text is in the training or validation examples"
TWICE = "its text is in the data twice"


@dataclass(frozen=True)
class Labelled:
    """A text and the place of its label among the classifier's; groups: its other short columns."""

    id: str
    text: str
    label: int
    source: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What is left to measure on, and how many rows were removed, by reason."""

    rows: list[Labelled]
    removed: dict[str, int]


def read_labelled(paths: Sequence[Path], labels: Sequence[str]) -> Kept:
    """The rows of any files with a text and a label each; those without a text are removed. Raises ForjaError for
    columns that are not there, a row without label, and labels that the classifier does not know."""
    read = read_examples(paths, "classification")
    rows = _matched(read.examples, labels, ", ".join(map(str, paths)))
    return Kept(rows, {f"it is {reason}": count for reason, count in read.left_out.items()})


def split_labelled(examples: Path, split: str, labels: Sequence[str]) -> list[Labelled]:
    """The rows of a split of a run's examples; none where it has no such split. Raises ForjaError for labels that the
    classifier does not know."""
    path = examples / f"{split}.parquet"
    return _matched(load_examples(examples, split), labels, str(path)) if path.is_file() else []


def _matched(examples: Sequence[Example], labels: Sequence[str], where: str) -> list[Labelled]:
    found: list[Labelled] = []
    unknown: Counter[str] = Counter()
    for one in examples:
        place = match_label(one.label, labels)
        if place is None:
            unknown[str(one.label)] += 1
        else:
            found.append(Labelled(one.id, one.text or "", place, one.source, one.groups))
    if unknown:
        named = ", ".join(f"{label!r} ({count:,} rows)" for label, count in unknown.most_common(8))
        raise ForjaError(
            f"the data has labels that the classifier does not know: {named}.",
            where=where,
            fix=f"It knows {', '.join(map(repr, labels))}.",
        )
    return found


def match_label(value: Any, labels: Sequence[str]) -> int | None:
    """The place of a label, by its name; 1, 1.0, "1" and true are the same, and so is lower case."""
    if str(value) in labels:
        return list(labels).index(str(value))
    spelling = _spelling(value)
    return next((place for place, label in enumerate(labels) if _spelling(label) == spelling), None)


def _spelling(value: Any) -> str:
    spelling = label_name(value).lower()
    return SPELLINGS.get(spelling, spelling)


def without_seen(kept: Kept, seen: Iterable[Labelled]) -> Kept:
    """The rows that are news: without those whose text, laid out however, is among the ones seen or came before."""
    known = {_digest(row.text) for row in seen}
    rows: list[Labelled] = []
    here: set[bytes] = set()
    removed = Counter(kept.removed)
    for row in kept.rows:
        digest = _digest(row.text)
        if digest in known:
            removed[IN_TRAINING] += 1
        elif digest in here:
            removed[TWICE] += 1
        else:
            rows.append(row)
        here.add(digest)
    return Kept(rows, dict(removed))


def _digest(text: str) -> bytes:
    return exact_key(normalise(text).decode("utf-8", "replace"))
