"""GLUE (Wang et al. 2019a) as data: what each task's files and columns are called, how a row becomes a text with a
label, and which metrics are the official ones. `superglue.py` says its tasks in the same terms; where the rows are
found is `glue_files.py`'s business.

Two segments become one text, a line each, under their names. The one that asks comes first, so that a text too long
for a model loses the end of what is asked about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forja.corpus.rows import Row
from forja.errors import ForjaError
from forja.evaluation import official_metrics as official

BINARY = ("0", "1")
ENTAILED = ("entailment", "not_entailment")
ENTAILMENT = ("entailment", "neutral", "contradiction")
"""Labels in the order in which the hub's copies number them."""


@dataclass(frozen=True)
class Item:
    """A text and what is true of it. unit: items of one are judged together; answer: what this candidate says, where
    one of a unit's items is to be chosen."""

    text: str
    label: str | float
    unit: str | None = None
    answer: str = ""


Read = Callable[[Row], Sequence[Item]]
"""The items of a row; none where the text or the label is missing or hidden. Raises ForjaError for another label."""


@dataclass(frozen=True)
class Task:
    """A task in its official layout.

    folder: its name, case and hyphens aside; config: the hub's name for it, as good for a folder; scored: the file
    with public labels that is scored, without its ending, and split: the hub's name for it; labels: none for values;
    decision: `class` tells each item's label, `choice` one right item a unit, `value` a number; columns: of a file
    without a header; taught_by: the task whose training rows teach this one, where it has none of its own.
    """

    name: str
    config: str
    read: Read
    labels: tuple[str, ...]
    metrics: Mapping[str, official.Official]
    folder: str = ""
    scored: str = "dev"
    split: str = "validation"
    decision: Literal["class", "choice", "value"] = "class"
    columns: tuple[str, ...] | None = None
    taught_by: str | None = None


def named_label(value: Any, labels: Sequence[str]) -> str | None:
    """The label as it is officially written, from that or from its number; None where it is missing or hidden (-1).

    Raises ForjaError for any other.
    """
    if value is None or value == "" or value == -1:
        return None
    if isinstance(value, int) and 0 <= value < len(labels):
        return labels[int(value)]
    if isinstance(value, str) and value.strip().lower() in labels:
        return value.strip().lower()
    raise ForjaError(f"the label is {value!r}; it should be one of {', '.join(labels)}.")


def joined(**segments: str) -> str:
    """Segments as one text, a line each, under their names."""
    return "\n".join(f"{name}: {' '.join(text.split())}" for name, text in segments.items())


def field(row: Row, *names: str) -> Any:
    """The first of these columns that the row has."""
    return next((row.fields[name] for name in names if name in row.fields), None)


def classified(labels: tuple[str, ...], label: Sequence[str], **segments: Sequence[str]) -> Read:
    """A reader of rows of one label each. label, segments: the columns' names, the official one first."""

    def read(row: Row) -> list[Item]:
        texts = {name: field(row, *columns) for name, columns in segments.items()}
        told = named_label(field(row, *label), labels)
        if told is None or not all(isinstance(text, str) and text.strip() for text in texts.values()):
            return []
        return [Item(joined(**texts) if len(texts) > 1 else next(iter(texts.values())).strip(), told)]

    return read


def _similarity(row: Row) -> list[Item]:
    """STS-B: a value from 0 to 5."""
    one, two, score = field(row, "sentence1"), field(row, "sentence2"), field(row, "score", "label")
    if not (one and two) or score in (None, "", -1):
        return []
    try:
        value = float(score)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 5:
        raise ForjaError(f"the score is {score!r}; it should be a number from 0 to 5.")
    return [Item(joined(sentence1=one, sentence2=two), value)]


_ACCURACY = {"accuracy": official.accuracy}
_BOTH = {"f1": official.f1, "accuracy": official.accuracy}
_NLI = classified(
    ENTAILMENT,
    ("gold_label", "Label", "label"),
    hypothesis=("sentence2", "Hypothesis", "hypothesis"),
    premise=("sentence1", "Premise", "premise"),
)

TASKS = (
    Task(
        name="CoLA",
        config="cola",
        read=classified(BINARY, ("label",), sentence=("sentence",)),
        labels=BINARY,
        metrics={"matthews": official.matthews},
        columns=("source", "label", "star", "sentence"),
    ),
    Task("SST-2", "sst2", classified(BINARY, ("label",), sentence=("sentence",)), BINARY, _ACCURACY),
    Task(
        name="MRPC",
        config="mrpc",
        read=classified(
            BINARY,
            ("Quality", "label"),
            sentence1=("#1 String", "sentence1"),
            sentence2=("#2 String", "sentence2"),
        ),
        labels=BINARY,
        metrics=_BOTH,
    ),
    Task(
        name="STS-B",
        config="stsb",
        read=_similarity,
        labels=(),
        metrics={"pearson": official.pearson, "spearman": official.spearman},
        decision="value",
    ),
    Task(
        name="QQP",
        config="qqp",
        read=classified(BINARY, ("is_duplicate", "label"), question1=("question1",), question2=("question2",)),
        labels=BINARY,
        metrics=_BOTH,
    ),
    Task("MNLI-m", "mnli", _NLI, ENTAILMENT, _ACCURACY, "MNLI", "dev_matched", "validation_matched"),
    Task(
        name="MNLI-mm",
        config="mnli",
        read=_NLI,
        labels=ENTAILMENT,
        metrics=_ACCURACY,
        folder="MNLI",
        scored="dev_mismatched",
        split="validation_mismatched",
        taught_by="MNLI-m",
    ),
    Task(
        name="QNLI",
        config="qnli",
        read=classified(ENTAILED, ("label",), question=("question",), sentence=("sentence",)),
        labels=ENTAILED,
        metrics=_ACCURACY,
    ),
    Task(
        name="RTE",
        config="rte",
        read=classified(ENTAILED, ("label",), hypothesis=("sentence2",), premise=("sentence1",)),
        labels=ENTAILED,
        metrics=_ACCURACY,
    ),
    Task(
        name="WNLI",
        config="wnli",
        read=classified(BINARY, ("label",), hypothesis=("sentence2",), premise=("sentence1",)),
        labels=BINARY,
        metrics=_ACCURACY,
    ),
    Task(
        name="AX",
        config="ax",
        read=_NLI,
        labels=ENTAILMENT,
        metrics={"matthews": official.matthews},
        folder="diagnostic",
        scored="diagnostic-full",
        split="test",
        taught_by="MNLI-m",
    ),
)
