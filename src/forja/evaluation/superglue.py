"""SuperGLUE (Wang et al. 2019b) as data, in the terms of `glue.py`.

A word that the question is about stands between asterisks. Where one of several candidates is right (COPA, ReCoRD),
each is a text of its own, true or false, and the one scored highest is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from forja.corpus.rows import Row
from forja.errors import ForjaError
from forja.evaluation import official_metrics as official
from forja.evaluation.glue import ENTAILED, Item, Task, classified, field, joined, named_label

TRUTH = ("false", "true")
COMMITMENT = ("entailment", "contradiction", "neutral")


def _whole(read: Callable[[Row], list[Item]]) -> Callable[[Row], list[Item]]:
    """A row that lacks a part of what its task is made of has no items."""

    def guarded(row: Row) -> list[Item]:
        try:
            return read(row)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError):
            return []

    return guarded


@_whole
def _copa(row: Row) -> list[Item]:
    """Two candidates, of which one is the cause or the effect of the premise."""
    right = row.fields["label"]
    if right is None or right == -1:
        return []
    if right not in (0, 1):
        raise ForjaError(f"the label is {right!r}; it should be 0 or 1.")
    choices = [row.fields["choice1"], row.fields["choice2"]]
    premise, link = row.fields["premise"], {"cause": "because", "effect": "so"}[row.fields["question"]]
    return [
        Item(f"{premise} {link}: {choice}", TRUTH[place == right], str(row.number), choice)
        for place, choice in enumerate(choices)
    ]


@_whole
def _multirc(row: Row) -> list[Item]:
    """Answers to questions about a paragraph, each true or false; a unit is a question. The hub's rows are answers."""
    if "passage" not in row.fields:
        place = row.fields["idx"]
        answer = {"text": row.fields["answer"], "label": row.fields["label"]}
        return _answers(f"{place['paragraph']}-{place['question']}", row.fields, row.fields["paragraph"], [answer])
    passage = row.fields["passage"]
    return [
        item
        for place, asked in enumerate(passage["questions"])
        for item in _answers(f"{row.number}-{place}", asked, passage["text"], asked["answers"])
    ]


def _answers(unit: str, asked: Mapping[str, Any], paragraph: str, answers: Sequence[Mapping[str, Any]]) -> list[Item]:
    told = [(answer["text"], named_label(answer.get("label"), TRUTH)) for answer in answers]
    return [
        Item(joined(question=asked["question"], answer=text, paragraph=paragraph), label, unit, text)
        for text, label in told
        if label is not None
    ]


@_whole
def _record(row: Row) -> list[Item]:
    """Candidates for the gap in a sentence about a passage: the entities that the passage marks, each once."""
    passage = row.fields["passage"]
    if isinstance(passage, str):  # as the hub has it, a query a row
        text, entities = passage, row.fields["entities"]
        queries = [(row.fields["query"], row.fields["answers"])]
    else:
        text = passage["text"]
        entities = [text[span["start"] : span["end"] + 1] for span in passage["entities"]]
        queries = [(one["query"], [answer["text"] for answer in one.get("answers", ())]) for one in row.fields["qas"]]
    candidates = list(dict.fromkeys(entities))
    return [
        Item(
            joined(query=query.replace("@placeholder", f"*{candidate}*"), passage=text),
            TRUTH[candidate in right],
            f"{row.number}-{place}",
            candidate,
        )
        for place, (query, right) in enumerate(queries)
        if set(right) & set(candidates)
        for candidate in candidates
    ]


@_whole
def _wic(row: Row) -> list[Item]:
    """Whether a word means the same in two sentences."""
    label = named_label(row.fields.get("label"), TRUTH)
    if label is None:
        return []
    marked = [
        _between(row.fields[f"sentence{one}"], int(row.fields[f"start{one}"]), int(row.fields[f"end{one}"]))
        for one in (1, 2)
    ]
    return [Item(joined(word=row.fields["word"], sentence1=marked[0], sentence2=marked[1]), label)]


def _between(text: str, start: int, end: int) -> str:
    return f"{text[:start]}*{text[start:end]}*{text[end:]}"


@_whole
def _wsc(row: Row) -> list[Item]:
    """Whether a pronoun means a name. Spans are counted in words."""
    label = named_label(row.fields.get("label"), TRUTH)
    if label is None:
        return []
    target = row.fields.get("target", row.fields)
    words = row.fields["text"].split()
    name, pronoun = target["span1_text"], target["span2_text"]
    for start, said in ((int(target["span1_index"]), name), (int(target["span2_index"]), pronoun)):
        end = start + len(said.split()) - 1
        words[start] = f"*{words[start]}"
        words[end] = f"{words[end]}*"
    return [Item(joined(pronoun=pronoun, name=name, text=" ".join(words)), label)]


def _winogender(row: Row) -> list[Item]:
    """AX-g: a unit is a pair of rows that differ in a pronoun's gender, one after the other."""
    pair, place = field(row, "pair_id"), field(row, "idx")
    unit = pair if pair is not None else (place if isinstance(place, int) else row.number - 1) // 2
    return [Item(item.text, item.label, str(unit)) for item in _ENTAILED_BY_PREMISE(row)]


_ACCURACY = {"accuracy": official.accuracy}
_ENTAILED_BY_PREMISE = classified(ENTAILED, ("label",), hypothesis=("hypothesis",), premise=("premise",))

TASKS = (
    Task(
        name="BoolQ",
        config="boolq",
        read=classified(TRUTH, ("label",), question=("question",), passage=("passage",)),
        labels=TRUTH,
        metrics=_ACCURACY,
        scored="val",
    ),
    Task(
        name="CB",
        config="cb",
        read=classified(COMMITMENT, ("label",), hypothesis=("hypothesis",), premise=("premise",)),
        labels=COMMITMENT,
        metrics={"accuracy": official.accuracy, "macro_f1": official.macro_f1},
        scored="val",
    ),
    Task("COPA", "copa", _copa, TRUTH, {"accuracy": official.chosen}, scored="val", decision="choice"),
    Task(
        "MultiRC", "multirc", _multirc, TRUTH, {"f1a": official.f1, "exact_match": official.whole_units}, scored="val"
    ),
    Task(
        name="ReCoRD",
        config="record",
        read=_record,
        labels=TRUTH,
        metrics={"f1": official.answer_f1, "exact_match": official.answer_exact},
        scored="val",
        decision="choice",
    ),
    Task("RTE", "rte", _ENTAILED_BY_PREMISE, ENTAILED, _ACCURACY, scored="val"),
    Task("WiC", "wic", _wic, TRUTH, _ACCURACY, scored="val"),
    Task("WSC", "wsc", _wsc, TRUTH, _ACCURACY, scored="val"),
    Task(
        name="AX-b",
        config="axb",
        read=classified(ENTAILED, ("label",), hypothesis=("sentence2",), premise=("sentence1",)),
        labels=ENTAILED,
        metrics={"matthews": official.matthews},
        scored="AX-b",
        split="test",
        taught_by="RTE",
    ),
    Task(
        name="AX-g",
        config="axg",
        read=_winogender,
        labels=ENTAILED,
        metrics={"accuracy": official.accuracy, "gender_parity": official.parity},
        scored="AX-g",
        split="test",
        taught_by="RTE",
    ),
)
