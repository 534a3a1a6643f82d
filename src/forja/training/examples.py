"""Batches of examples: which are read at a step is a pure function of the seed and the step, as with text.

Examples of like length go together, so that little is padded; the batches of an epoch are in an order of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

POOL = 32
"""Batches whose examples are sorted by length together."""

Places = npt.NDArray[np.int64]


class LabelledBatch(NamedTuple):
    """tokens: (batch, time) int64; mask: (batch, time) bool, true where there is text; labels: (batch,) int64 or
    float32; weights: (batch,) float32."""

    tokens: Tensor
    mask: Tensor
    labels: Tensor
    weights: Tensor


class SequenceBatch(NamedTuple):
    """inputs, targets: (batch, time) int64, a target of -1 counts for nothing; weights: (batch, time), or None."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None


class PreferenceBatch(NamedTuple):
    """inputs, targets: (batch, 2, time) int64, the chosen answer first; reference: (batch, 2), nats that the base
    gives them."""

    inputs: Tensor
    targets: Tensor
    reference: Tensor


class Examples(Protocol):
    """Encoded examples."""

    @property
    def lengths(self) -> Places:
        """Tokens of each, (examples,)."""

    def batch(self, places: Places) -> Any:
        """Those at `places` as one batch."""


class ExampleBatches:
    """Global batches of about `batch_size` examples: an epoch's last ones are spread over its others."""

    def __init__(self, examples: Examples, *, batch_size: int, seed: int) -> None:
        self.examples, self.seed = examples, seed
        count = len(examples.lengths)
        self.batch_size = min(batch_size, count)
        self.an_epoch = max(1, count // batch_size)
        self._epoch: tuple[int, list[Places]] = (-1, [])

    def global_batch(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """This rank's part of the batch at `step` (from 0)."""
        epoch, place = divmod(step, self.an_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        places = self._epoch[1][place]
        return self.examples.batch(np.array_split(places, world)[rank])

    def _order(self, epoch: int) -> list[Places]:
        """The epoch's batches."""
        source = np.random.default_rng([self.seed, epoch])
        shuffled = source.permutation(len(self.examples.lengths))
        lengths = self.examples.lengths
        batches: list[Places] = []
        for pool in np.array_split(shuffled, max(1, self.an_epoch // POOL)):
            ordered = pool[np.argsort(lengths[pool], kind="stable")]
            batches += np.array_split(ordered, max(1, round(self.an_epoch * len(pool) / len(shuffled))))
        missing = self.an_epoch - len(batches)
        batches = batches[: self.an_epoch] if missing < 0 else batches + batches[:missing]
        return [batches[at] for at in source.permutation(len(batches))]


class Labelled:
    """Texts with their classes, or values. weights: (texts,), of each in the loss."""

    def __init__(self, tokens: Sequence[Sequence[int]], labels: npt.NDArray[Any], weights: npt.NDArray[Any]) -> None:
        self.tokens = [np.asarray(ids, np.int64) for ids in tokens]
        self.labels, self.weights = torch.from_numpy(labels), torch.from_numpy(weights.astype(np.float32))
        self.lengths = np.array([len(ids) for ids in self.tokens], np.int64)

    def batch(self, places: Places) -> LabelledBatch:
        tokens, mask = padded([self.tokens[at] for at in places])
        chosen = torch.from_numpy(places)
        return LabelledBatch(tokens, mask, self.labels[chosen], self.weights[chosen])


class Sequences:
    """Token sequences of which the `counted` tokens are to be predicted: conversations, or plain text."""

    def __init__(self, tokens: Sequence[Sequence[int]], counted: Sequence[Sequence[bool]]) -> None:
        self.tokens = [np.asarray(ids, np.int64) for ids in tokens]
        self.counted = [np.asarray(marks, bool) for marks in counted]
        self.lengths = np.array([len(ids) for ids in self.tokens], np.int64)

    def batch(self, places: Places) -> SequenceBatch:
        return SequenceBatch(*shifted([self.tokens[at] for at in places], [self.counted[at] for at in places]))


class Preferences:
    """Pairs of conversations that differ in their last answer, the chosen one first; reference: (pairs, 2), nats."""

    def __init__(self, chosen: Sequences, rejected: Sequences, reference: npt.NDArray[np.float32]) -> None:
        self.chosen, self.rejected, self.reference = chosen, rejected, torch.from_numpy(reference)
        self.lengths = np.maximum(chosen.lengths, rejected.lengths)

    def batch(self, places: Places) -> PreferenceBatch:
        both = [side for at in places for side in ((self.chosen, at), (self.rejected, at))]
        inputs, targets = shifted([s.tokens[at] for s, at in both], [s.counted[at] for s, at in both])
        shape = (len(places), 2, inputs.shape[1])
        return PreferenceBatch(inputs.view(shape), targets.view(shape), self.reference[torch.from_numpy(places)])


def padded(rows: Sequence[npt.NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Rows of tokens, padded on the right with 0: (rows, longest) int64, and a mask that is true where text is."""
    longest = max((len(row) for row in rows), default=0)
    tokens = torch.zeros((len(rows), longest), dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.from_numpy(row)
        mask[number, : len(row)] = True
    return tokens, mask


def shifted(rows: Sequence[npt.NDArray[np.int64]], counted: Sequence[npt.NDArray[np.bool_]]) -> tuple[Tensor, Tensor]:
    """Inputs and their next tokens, (rows, longest - 1) int64; -1 where the next one is not counted or not there."""
    tokens, mask = padded(rows)
    marks = torch.zeros_like(mask)
    for number, marked in enumerate(counted):
        marks[number, : len(marked)] = torch.from_numpy(marked)
    targets = torch.where(marks[:, 1:], tokens[:, 1:], -1)
    return tokens[:, :-1], targets


def micro_parts(examples: Examples, size: int) -> list[Any]:
    """All examples, the shortest first, as batches of at most `size`."""
    order = np.argsort(examples.lengths, kind="stable")
    return [examples.batch(order[start : start + size]) for start in range(0, len(order), size)]
