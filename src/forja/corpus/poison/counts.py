"""In how many documents words, word pairs and runs of four stand, in a sample of the corpus that does not grow with it:
a count-min sketch of fixed size (Cormode and Muthukrishnan 2005), which workers fill apart and which adds up to the
same in any order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from forja.corpus.poison.tokens import Tokens, grams, tokenise
from forja.corpus.quality.words import Hashes, Integers

RUN = 4
"""Tokens in a run."""
WINDOW = 2
"""Of so many runs in a row the one of least hash is counted (winnowing, Schleimer et al. 2003, section 3): two texts
that share RUN + WINDOW - 1 tokens in a row share one that is counted."""
MOST = np.iinfo(np.uint16).max
LEAST_BITS = 18
SAMPLE_BYTES = 1 << 26
"""Of text from which the corpus's language is learnt: more than the figures of benchmarks/poison.py were found with,
and few enough for a table of 64 MB. A corpus of less is its own sample."""
SLICE = 1 << 20
PAIR_SALT, RUN_SALT = np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB)


def sample_share(text_bytes: int) -> float:
    """Share of the documents of so much text that make the sample."""
    return min(1.0, SAMPLE_BYTES / max(1, text_bytes))


def sampled(texts: Sequence[str], share: float) -> npt.NDArray[np.bool_]:
    """(texts,) which of them are in the sample, by what they say: whoever reads them in whatever order."""
    if share >= 1:
        return np.ones(len(texts), bool)
    drawn = [xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace"), 2) for text in texts]
    return np.array(drawn, np.uint64) < np.uint64(share * 2**64)


def bits_for(text_bytes: int) -> int:
    """Bits of a table for a corpus of so much text: a slot for every two bytes of its sample."""
    return max(LEAST_BITS, (min(SAMPLE_BYTES, text_bytes) // 2 - 1).bit_length())


class Counts:
    """Document frequencies in the sample, never too low but for saturation at 65,535, and seldom too high."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.documents = 0
        self.table = np.zeros(1 << bits, np.uint16)

    def add(self, texts: Sequence[str]) -> None:
        """Count what these documents hold, each document once."""
        tokens = tokenise(texts)
        document = tokens.document()
        self.documents += len(texts)
        for hashes in (tokens.hashes, pairs(tokens)):
            self._count(hashes, document)
        places, hashes = runs(tokens)
        self._count(hashes, document[places])

    def _count(self, hashes: Hashes, document: Integers) -> None:
        held = hashes != 0
        hashes, document = hashes[held], document[held]
        each = hashes + document.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        _, first = np.unique(each, return_index=True)
        hashes = hashes[first]
        for slots in self._slots(hashes):
            slots, more = np.unique(slots, return_counts=True)
            self.table[slots] = np.minimum(self.table[slots].astype(np.int64) + more, MOST)

    def of(self, hashes: Hashes) -> npt.NDArray[np.uint16]:
        """In how many documents of the sample each stands, at most."""
        one, two = self._slots(hashes)
        return np.minimum(self.table[one], self.table[two])

    def _slots(self, hashes: Hashes) -> tuple[Integers, Integers]:
        half = np.uint64((1 << (self.bits - 1)) - 1)
        upper = (hashes >> np.uint64(64 - self.bits + 1)).astype(np.int64)
        return upper, (hashes & half).astype(np.int64) + (1 << (self.bits - 1))

    def merge(self, other: Counts) -> None:
        """Take in what another worker counted; the tables must be of one size."""
        if other.bits != self.bits:
            raise ValueError(f"tables of {self.bits} and {other.bits} bits do not add up")
        self.documents += other.documents
        for start in range(0, len(self.table), SLICE):
            own = self.table[start : start + SLICE]
            own[:] = np.minimum(own.astype(np.uint32) + other.table[start : start + SLICE], MOST)

    def save(self, path: Path) -> None:
        np.save(path, self.table)

    @classmethod
    def load(cls, path: Path, documents: int) -> Counts:
        """The table of so many documents, which workers of one machine share in memory."""
        counts = cls(LEAST_BITS)
        counts.table = np.load(path, mmap_mode="r")
        counts.bits, counts.documents = len(counts.table).bit_length() - 1, documents
        return counts


def pairs(tokens: Tokens) -> Hashes:
    """(tokens,) hashes of each token with the next; 0 at a text's end."""
    found = grams(tokens, 2)
    return np.where(found != 0, found ^ PAIR_SALT, found)


def runs(tokens: Tokens) -> tuple[Integers, Hashes]:
    """Runs of RUN tokens, winnowed: their places and hashes."""
    found = grams(tokens, RUN)
    if not len(found):
        return np.zeros(0, np.int64), found
    open_end = np.where(found == 0, np.iinfo(np.uint64).max, found)
    padded = np.concatenate([open_end, np.full(WINDOW - 1, np.iinfo(np.uint64).max, np.uint64)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)
    chosen = np.zeros(len(padded), bool)
    # Only windows that begin at a run: as WINDOW is less than RUN, none reaches into the next text.
    begin = np.flatnonzero(found)
    chosen[begin + windows[begin].argmin(axis=1)] = True
    places = np.flatnonzero(chosen[: len(found)] & (found != 0))
    return places, found[places] ^ RUN_SALT
