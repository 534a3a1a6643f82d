"""A run's examples as what a base learns from: encoded by its tokenizer, weighed, split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.examples.build import load_examples
from forja.corpus.examples.layouts import Example
from forja.errors import ForjaError
from forja.models.base import Base
from forja.models.foreign import context_of
from forja.models.tuned import Head
from forja.progress import say
from forja.recipe import FinetuneSection
from forja.run import read_json
from forja.tokens.chat import ChatEncoder
from forja.tokens.texts import TextEncoder, end_id, text_backend
from forja.training.examples import Examples, Labelled, Preferences, Sequences

OWN = ("forja", "gpt2", "qwen3")
"""Families that Forja's transformer is exported as."""
UNCASED = 0.25
"""The share of texts without a capital letter from which case tells where a text comes from rather than what it is."""
LETTERS, WHOLE = 40, 2000
"""Letters that a text must have to be asked for a capital, among so many of its first characters."""

NGRAM_ROOM = 1024
"""Tokens of a text whose n-grams are counted."""

Encode = Callable[[Sequence[Example]], Examples]


@dataclass(frozen=True)
class TaskData:
    """What is trained on and validated with; head: the classification layer's classes, None where text is predicted."""

    train: Examples
    valid: Examples | None
    head: Head | None


def task_data(section: FinetuneSection, base: Base, examples: Path) -> TaskData:
    """The splits in a folder of the examples stage, as `section.kind` reads them. Raises ForjaError."""
    if section.kind == "classification":
        head = Head(list(read_json(examples / "labels.json") or []))
        parts = (load_examples(examples, split) for split in ("train", "valid"))
        return labelled_data(section, base, head, *parts)
    train, valid = (encoded_split(section, base, examples, split) for split in ("train", "valid"))
    if not len(train.lengths):
        raise ForjaError(
            "there is nothing to train on: no example is left, or no text as long as a sequence.",
            where=str(examples),
            fix="Give more examples, or a larger finetune.max_tokens.",
        )
    return TaskData(train, valid if len(valid.lengths) else None, None)


def encoded_split(section: FinetuneSection, base: Base, examples: Path, split: str) -> Examples:
    """A split of texts, conversations or preferences, as `section.kind` reads them. Raises ForjaError."""
    room = reading_room(section, base)
    if section.kind == "continue":
        encode = _text_windows(base, room)
    elif section.kind == "chat":
        encode = _conversations(ChatEncoder(base.folder), room)
    else:
        encode = _preferences(ChatEncoder(base.folder), room)
    return encode(load_examples(examples, split))


def labelled_data(
    section: FinetuneSection, base: Base, head: Head, train: Sequence[Example], valid: Sequence[Example]
) -> TaskData:
    """Texts with their labels, the training ones weighed as the section asks."""
    room = reading_room(section, base)
    encoder = TextEncoder(base.folder, max_tokens=room, plain=reads_plainly(section, base, train))
    aims, held = _aims(train, head), _aims(valid, head)
    weights = example_weights(section, train, aims, len(head.labels))
    held_weights = example_weights(section.model_copy(update={"fair_by": None}), valid, held, len(head.labels))
    learned = Labelled(
        encoder.encode([_text(one) for one in train]), aims, weights, room=room, dropout=section.token_dropout
    )
    checked = Labelled(encoder.encode([_text(one) for one in valid]), held, held_weights, room=room) if valid else None
    return TaskData(learned, checked, head)


def reads_plainly(section: FinetuneSection, base: Base, train: Sequence[Example]) -> bool:
    """Whether texts are read in lower case, with no space beside signs: see `finetune.read_as`."""
    if section.read_as != "auto" or base.described.get("model_type") not in OWN:
        return section.read_as == "plain"
    long = [one.text for one in train if one.text and sum(map(str.isalpha, one.text[:WHOLE])) >= LETTERS]
    lower = sum(not any(map(str.isupper, _without_subject(text[:WHOLE]))) for text in long)
    return bool(long) and lower >= UNCASED * len(long)


def _without_subject(text: str) -> str:
    return text.removeprefix("Subject:")


def reading_room(section: FinetuneSection, base: Base) -> int:
    """Tokens of an example that are read, at most: n-grams go on where the base's context ends."""
    context = context_of(base)
    if section.kind == "classification" and section.ngrams and base.described.get("model_type") in OWN:
        return section.max_tokens or max(context, NGRAM_ROOM)
    return min(section.max_tokens or context, context)


def example_weights(
    section: FinetuneSection, examples: Sequence[Example], aims: npt.NDArray[Any], classes: int
) -> npt.NDArray[np.float64]:
    """Of each example in the loss, (examples,), 1 on average. Raises ForjaError for a column that is not there."""
    weights = np.ones(len(examples))
    if section.class_weights == "balanced" and classes > 1:
        counts = np.bincount(aims, minlength=classes)
        weights = len(aims) / (classes * np.maximum(counts, 1))[aims]
    if section.fair_by is not None:
        weights = weights * reweighing([_group(one, section.fair_by) for one in examples], aims)
    return weights


def reweighing(groups: Sequence[str], aims: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """P(group) P(label) / P(group, label) of each example, which makes the two independent (Kamiran and Calders 2012,
    section 5.3)."""
    named = np.unique(np.asarray(groups), return_inverse=True)[1]
    pairs = np.zeros((named.max(initial=0) + 1, int(aims.max(initial=0)) + 1))
    np.add.at(pairs, (named, aims), 1.0)
    expected = pairs.sum(1, keepdims=True) * pairs.sum(0, keepdims=True) / max(len(aims), 1)
    weights: npt.NDArray[np.float64] = (expected / np.maximum(pairs, 1))[named, aims]
    return weights


def _group(example: Example, column: str) -> str:
    value = example.source if column == "source" else example.groups.get(column)
    if value is None:
        known = ", ".join(sorted({"source", *example.groups}))
        raise ForjaError(f"an example has no column {column!r}.", where="finetune.fair_by", fix=f"There are {known}.")
    return str(value)


def _text(example: Example) -> str:
    return example.text or ""


def _aims(examples: Sequence[Example], head: Head) -> npt.NDArray[Any]:
    """Numbers of their classes, (examples,) int64; of a regression the values, float32."""
    if head.regression:
        return np.array([float(one.label or "nan") for one in examples], np.float32)
    numbers = {label: number for number, label in enumerate(head.labels)}
    return np.array([numbers[str(one.label)] for one in examples], np.int64)


def _text_windows(base: Base, room: int) -> Encode:
    """Texts end to end, each begun by the token that parts documents, cut into sequences of `room` + 1 tokens."""
    backend, parting = text_backend(base.folder), end_id(base.folder)
    backend.encode_special_tokens = True

    def encode(examples: Sequence[Example]) -> Sequences:
        encoded = backend.encode_batch([_text(one) for one in examples], add_special_tokens=False)
        stream = [token for one in encoded for token in (parting, *one.ids)]
        windows = [stream[start : start + room + 1] for start in range(0, len(stream) - 1, room)]
        return Sequences(windows, [[True] * len(window) for window in windows], room=room)

    return encode


def _conversations(encoder: ChatEncoder, room: int) -> Encode:
    def encode(examples: Sequence[Example]) -> Sequences:
        encoded = [encoder.encode(one.messages or [], context=room) for one in examples]
        cut = sum(one.cut for one in encoded)
        if cut:
            say(f"  {cut:,} of {len(encoded):,} conversations are longer than {room} tokens and were cut")
        kept = [one for one in encoded if any(one.counted[1:])]
        _say_unanswered(len(encoded) - len(kept), room)
        return Sequences([one.ids for one in kept], [one.counted for one in kept], room=room)

    return encode


def _preferences(encoder: ChatEncoder, room: int) -> Encode:
    def encode(examples: Sequence[Example]) -> Preferences:
        pairs = [encoder.encode_preference(one.prompt, one.chosen, one.rejected, context=room) for one in examples]
        whole = [pair for pair in pairs if all(any(side.counted[1:]) for side in pair)]
        _say_unanswered(len(pairs) - len(whole), room)
        pairs = whole
        chosen, rejected = (
            Sequences([pair[side].ids for pair in pairs], [pair[side].counted for pair in pairs], room=room)
            for side in (0, 1)
        )
        return Preferences(chosen, rejected, np.zeros((len(pairs), 2), np.float32))

    return encode


def _say_unanswered(count: int, room: int) -> None:
    if count:
        say(f"  {count:,} were left out: their answers begin beyond {room} tokens")
