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
STRIDE = 32
"""Batches are padded to a multiple of it: a processor's kernels are made anew for every shape that they meet."""

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

    def batch(self, places: Places, seeds: Places | None = None) -> Any:
        """Those at `places` as one batch; `seeds`, one each, decide what is left out of them in training."""


class ExampleBatches:
    """Global batches of `batch_size` examples, all of them where there are fewer: those that fill none at the end of an
    epoch, which are others in each, are left out of it."""

    def __init__(self, examples: Examples, *, batch_size: int, seed: int) -> None:
        self.examples, self.seed = examples, seed
        count = len(examples.lengths)
        self.batch_size = min(batch_size, count)
        self.an_epoch = count // self.batch_size
        self._epoch: tuple[int, list[Places]] = (-1, [])

    def global_batch(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """This rank's part of the batch at `step` (from 0)."""
        epoch, place = divmod(step, self.an_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        places = self._epoch[1][place]
        seeds = np.random.default_rng([self.seed, step, 1]).integers(2**62, size=len(places))
        mine = (np.array_split(whole, world)[rank] for whole in (places, seeds))
        return self.examples.batch(*mine)

    def _order(self, epoch: int) -> list[Places]:
        """The epoch's batches."""
        source = np.random.default_rng([self.seed, epoch])
        taken = source.permutation(len(self.examples.lengths))[: self.an_epoch * self.batch_size]
        pools = [
            taken[start : start + POOL * self.batch_size] for start in range(0, len(taken), POOL * self.batch_size)
        ]
        batches: list[Places] = []
        for pool in pools:
            ordered = pool[np.argsort(self.examples.lengths[pool], kind="stable")]
            batches += np.split(ordered, len(ordered) // self.batch_size)
        return [batches[at] for at in source.permutation(len(batches))]


class Labelled:
    """Texts with their classes, or values. weights: (texts,), of each in the loss; room: tokens that fit the model;
    dropout: the share of a text's tokens, its ends aside, that are left out in training."""

    def __init__(
        self,
        tokens: Sequence[Sequence[int]],
        labels: npt.NDArray[Any],
        weights: npt.NDArray[Any],
        *,
        room: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        self.room, self.dropout = room, dropout
        self.tokens = [np.asarray(ids, np.int64) for ids in tokens]
        self.labels, self.weights = torch.from_numpy(labels), torch.from_numpy(weights.astype(np.float32))
        self.lengths = np.array([len(ids) for ids in self.tokens], np.int64)

    def batch(self, places: Places, seeds: Places | None = None) -> LabelledBatch:
        rows = [self.tokens[at] for at in places]
        if seeds is not None and self.dropout:
            rows = [_thinned(row, self.dropout, int(seed)) for row, seed in zip(rows, seeds, strict=True)]
        tokens, mask = padded(rows, room=self.room)
        chosen = torch.from_numpy(places)
        return LabelledBatch(tokens, mask, self.labels[chosen], self.weights[chosen])


class Sequences:
    """Token sequences of which the `counted` tokens are to be predicted: conversations, or plain text. room: tokens
    that fit the model."""

    def __init__(
        self, tokens: Sequence[Sequence[int]], counted: Sequence[Sequence[bool]], *, room: int | None = None
    ) -> None:
        self.room = room
        self.tokens = [np.asarray(ids, np.int64) for ids in tokens]
        self.counted = [np.asarray(marks, bool) for marks in counted]
        self.lengths = np.array([len(ids) for ids in self.tokens], np.int64)

    def batch(self, places: Places, seeds: Places | None = None) -> SequenceBatch:
        tokens, counted = [self.tokens[at] for at in places], [self.counted[at] for at in places]
        return SequenceBatch(*shifted(tokens, counted, room=self.room))


class Preferences:
    """Pairs of conversations that differ in their last answer, the chosen one first; reference: (pairs, 2), nats."""

    def __init__(self, chosen: Sequences, rejected: Sequences, reference: npt.NDArray[np.float32]) -> None:
        self.chosen, self.rejected, self.reference = chosen, rejected, torch.from_numpy(reference)
        self.lengths = np.maximum(chosen.lengths, rejected.lengths)

    def batch(self, places: Places, seeds: Places | None = None) -> PreferenceBatch:
        both = [side for at in places for side in ((self.chosen, at), (self.rejected, at))]
        inputs, targets = shifted(
            [s.tokens[at] for s, at in both], [s.counted[at] for s, at in both], room=self.chosen.room
        )
        shape = (len(places), 2, inputs.shape[1])
        return PreferenceBatch(inputs.view(shape), targets.view(shape), self.reference[torch.from_numpy(places)])


def _thinned(row: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.int64]:
    """The row without a share of its tokens; its ends stay, which control tokens may be."""
    kept = np.random.default_rng(seed).random(len(row)) >= share
    kept[[0, -1]] = True
    return row[kept]


def padded(rows: Sequence[npt.NDArray[np.int64]], *, room: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows of tokens, padded on the right with 0: (rows, time) int64, and a mask that is true where text is.

    time: the longest row's, or where `room` is given the next multiple of STRIDE that fits it.
    """
    longest = max((len(row) for row in rows), default=0)
    if room is not None:
        longest = max(longest, min(room, -(-longest // STRIDE) * STRIDE))
    tokens = torch.zeros((len(rows), longest), dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.from_numpy(row)
        mask[number, : len(row)] = True
    return tokens, mask


def shifted(
    rows: Sequence[npt.NDArray[np.int64]], counted: Sequence[npt.NDArray[np.bool_]], *, room: int | None = None
) -> tuple[Tensor, Tensor]:
    """Inputs and their next tokens, (rows, time) int64; -1 where the next one is not counted or not there."""
    tokens, mask = padded(rows, room=None if room is None else room + 1)
    marks = torch.zeros_like(mask)
    for number, marked in enumerate(counted):
        marks[number, : len(marked)] = torch.from_numpy(marked)
    targets = torch.where(marks[:, 1:], tokens[:, 1:], -1)
    return tokens[:, :-1], targets


def micro_parts(examples: Examples, size: int) -> list[Any]:
    """All examples, the shortest first, as batches of at most `size`."""
    order = np.argsort(examples.lengths, kind="stable")
    return [examples.batch(order[start : start + size]) for start in range(0, len(order), size)]
