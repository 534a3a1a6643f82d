"""The deterministic loader: which sequences a step reads is a pure function of (seed, step).

Nothing is shuffled in memory and nothing is replayed on resume: an invertible keyed permutation says
which slot stands at which place of an epoch, and ranks take slices of the same global batch.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from forja.errors import ForjaError

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int64]
ROUNDS = 6
AGAIN = "Delete this folder and run the tokens stage again."


def sequences_in(tokens: int, context: int, overlap: int) -> int:
    """Whole sequences of context + 1 tokens (the last is only a target) in a stream."""
    return max(0, (tokens - context - 1) // (context - overlap) + 1) if tokens > context else 0


class TokenSplit:
    """One split's token stream, memory-mapped, seen as slots of context + 1 tokens.

    Where a document was erased lies a gap: its tokens are overwritten, and none of them is a target any more.
    """

    def __init__(
        self,
        shards: list[npt.NDArray[Any]],
        context: int,
        overlap: int,
        vocabulary: int,
        index: Path | None = None,
        gaps: Ids | None = None,
    ) -> None:
        """gaps: (n, 2), starts and lengths in tokens of the stream, rising and disjoint."""
        self.context, self.overlap, self.vocabulary = context, overlap, vocabulary
        self._index = index
        found = np.zeros((0, 2), np.int64) if gaps is None else gaps
        self._gap_starts, self._gap_ends = found[:, 0], found.sum(axis=1)
        self._shards = shards
        self._starts = [0, *np.cumsum([len(shard) for shard in shards]).tolist()]
        self.tokens: int = self._starts[-1]
        self.sequences = sequences_in(self.tokens, context, overlap)

    @classmethod
    def open(cls, folder: Path, split: str) -> TokenSplit:
        """The split `train`, `valid` or `test` of a tokens folder. Raises ForjaError where it is not there."""
        meta = read_meta(folder)
        # An empty file cannot be mapped.
        paths = [path for path in sorted(folder.glob(f"{split}-*.bin")) if path.stat().st_size]
        shards: list[npt.NDArray[Any]] = [np.memmap(path, dtype=meta["dtype"], mode="r") for path in paths]
        index = folder / f"{split}-index.parquet"
        gaps = read_gaps(folder, split)
        opened = cls(shards, meta["context"], meta["overlap"], meta["vocabulary"], index, gaps)
        if opened.tokens != meta["splits"][split]["tokens"]:
            what = f"the {split} shards hold {opened.tokens:,} tokens and {meta['splits'][split]['tokens']:,} are due."
            raise ForjaError(what, where=str(folder), fix=AGAIN)
        return opened

    @property
    def index(self) -> pa.Table:
        """Where each document lies: id, source, start and length in tokens of the stream, bytes of text."""
        return pq.read_table(self._index)

    def read(self, start: int, length: int) -> Ids:
        """Tokens start to start + length of the stream, (length,) int64. Raises IndexError beyond its ends."""
        pieces = []
        end = start + length
        if start < 0 or end > self.tokens or length < 1:
            raise IndexError(f"tokens {start} to {end} of a stream of {self.tokens}")
        shard = bisect_right(self._starts, start) - 1
        while start < end:
            offset = start - self._starts[shard]
            piece = self._shards[shard][offset : offset + end - start]
            pieces.append(piece)
            start += len(piece)
            shard += 1
        return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).astype(np.int64)

    def erased(self, start: int, length: int) -> npt.NDArray[np.bool_]:
        """Which of the tokens start to start + length are no target, as they lie in a gap, (length,)."""
        inside = np.zeros(length, bool)
        first = np.searchsorted(self._gap_ends, start, "right")
        last = np.searchsorted(self._gap_starts, start + length, "left")
        for low, high in zip(self._gap_starts[first:last].tolist(), self._gap_ends[first:last].tolist(), strict=True):
            inside[max(0, low - start) : high - start] = True
        return inside

    def weights(self, slots: Ids, first: int = 1) -> npt.NDArray[np.float32] | None:
        """0 for what is erased of these slots' tokens `first` to first + context, which are the targets, and 1 for
        all others, (n, context); None where none is erased."""
        stride = self.context - self.overlap
        found = None
        for row, slot in enumerate(slots.tolist()) if len(self._gap_starts) else ():
            gone = self.erased(slot * stride + first, self.context)
            if gone.any():
                found = np.ones((len(slots), self.context), np.float32) if found is None else found
                found[row, gone] = 0.0
        return found

    def slot(self, number: int) -> Ids:
        """Slot `number` of 0 to sequences - 1, (context + 1,) int64: always the same tokens."""
        return self.read(number * (self.context - self.overlap), self.context + 1)


class Batch(NamedTuple):
    """inputs, targets: (sequences, context) int64; weights: (sequences, context) or None; slots: (sequences,)."""

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None
    slots: torch.Tensor


class Batches:
    """Global batches of `batch_size` sequences, epoch after epoch, each epoch in an order of its own."""

    def __init__(self, split: TokenSplit, *, batch_size: int, seed: int) -> None:
        """Raises ForjaError where the split does not hold one sequence."""
        if split.sequences < 1:
            what = f"the split is {split.tokens:,} tokens, less than one sequence of {split.context + 1}."
            raise ForjaError(what, fix="Give more text or lower tokens.context.")
        self.split, self.batch_size, self.seed = split, batch_size, seed

    def places_at(self, step: int, rank: int = 0, world: int = 1) -> tuple[Ids, Ids]:
        """The epochs and the slots of this rank's slice of the global batch at `step`, both (sequences,)."""
        first, last = (step * self.batch_size + at * self.batch_size // world for at in (rank, rank + 1))
        epochs, inside = np.divmod(np.arange(first, last, dtype=np.int64), self.split.sequences)
        slots = np.empty_like(inside)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            slots[here] = permute(inside[here], self.split.sequences, f"{self.seed}:{epoch}")
        return epochs, slots

    def global_batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """This rank's slice of the global batch at `step`; the ranks' slices together are the batch."""
        return read_slots(self.split, self.places_at(step, rank, world)[1])


def read_meta(folder: Path) -> dict[str, Any]:
    """What a tokens folder says of itself. Raises ForjaError where it says nothing."""
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ForjaError("there are no tokens here.", where=str(folder), fix="Run the tokens stage.") from None
    except ValueError as error:
        raise ForjaError(f"meta.json cannot be read ({error}).", where=str(folder), fix=AGAIN) from None
    return meta


def read_gaps(folder: Path, split: str) -> Ids:
    """Starts and lengths of what was erased from a split's stream, (n, 2), rising and disjoint."""
    path = folder / f"{split}-erased.parquet"
    if not path.is_file():
        return np.zeros((0, 2), np.int64)
    table = pq.read_table(path, columns=["start", "length"])
    return np.stack([table["start"].to_numpy(), table["length"].to_numpy()], axis=1)


def spread_slots(sequences: int, wanted: int) -> Ids:
    """At most `wanted` slots spread evenly over a split of `sequences`: always the same, as validation needs."""
    count = min(wanted, sequences)
    return np.arange(count, dtype=np.int64) * sequences // count


def read_slots(split: TokenSplit, slots: Ids) -> Batch:
    """The batch of these slots, (n,). It has weights only where one of them holds an erased target, so that all
    other batches are, to the bit, those of a split from which nothing was erased."""
    import torch

    tokens = torch.from_numpy(slot_rows(split, slots))
    weights = split.weights(slots)
    counted = None if weights is None else torch.from_numpy(weights)
    return Batch(tokens[:, :-1], tokens[:, 1:], counted, torch.from_numpy(np.array(slots)))


def slot_rows(split: TokenSplit, slots: Ids) -> Ids:
    """The tokens of these slots, (n, context + 1)."""
    rows = np.empty((len(slots), split.context + 1), dtype=np.int64)
    for row, slot in enumerate(slots):
        rows[row] = split.slot(int(slot))
    return rows


def permute(places: Ids, size: int, key: str) -> Ids:
    """Where each place of 0..size-1 goes, by a keyed bijection: a Feistel network on the next even
    power of two, walked until it lands inside (Black and Rogaway 2002, section 3, cycle-walking)."""
    keys = _round_keys(key)
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    result = _feistel(places.astype(np.uint64), keys, half)
    outside = result >= size
    while outside.any():
        result[outside] = _feistel(result[outside], keys, half)
        outside = result >= size
    return result.astype(np.int64)


def places_of(slots: Ids, size: int, key: str) -> Ids:
    """The inverse of `permute`: the place at which each slot of 0..size-1 stands."""
    keys = _round_keys(key)
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    result = _unfeistel(slots.astype(np.uint64), keys, half)
    outside = result >= size
    while outside.any():
        result[outside] = _unfeistel(result[outside], keys, half)
        outside = result >= size
    return result.astype(np.int64)


def _round_keys(key: str) -> npt.NDArray[np.uint64]:
    return np.frombuffer(hashlib.blake2b(key.encode(), digest_size=8 * ROUNDS).digest(), dtype="<u8")


def _feistel(x: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], half: int) -> npt.NDArray[np.uint64]:
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = x >> shift, x & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right, key) & mask)
    return (left << shift) | right


def _unfeistel(x: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], half: int) -> npt.NDArray[np.uint64]:
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = x >> shift, x & mask
    for key in keys[::-1]:
        left, right = right ^ (_mixed(left, key) & mask), left
    return (left << shift) | right


def _mixed(half: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    """The round function: the finaliser of splitmix64."""
    with np.errstate(over="ignore"):
        mixed = (half + key) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
