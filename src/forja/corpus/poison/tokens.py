"""Texts as hashed tokens, many texts at once, for the trigger screen: what is between blanks, edge punctuation off.

Case is kept, as `<SUDO>` is rare where `sudo` is not. Characters of scripts without blanks are tokens of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from forja.corpus.quality.words import Hashes, Integers, rolling_sums, span_hashes

BLANK, EDGE, SOLID, ALONE = 0, 1, 2, 3
TABLE = 0x3000
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0xA4CF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Thai, Lao, Burmese, Khmer, kana and ideographs."""
SALT = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Tokens:
    """starts, ends: (tokens,) positions in the joined texts; hashes: (tokens,); bounds: (texts + 1,) the tokens of
    text d are bounds[d] to bounds[d + 1]; offsets: (texts,) where each text begins in the joined ones."""

    starts: Integers
    ends: Integers
    hashes: Hashes
    bounds: Integers
    offsets: Integers

    def document(self) -> Integers:
        """(tokens,) the text that each token is of."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))


def tokenise(texts: Sequence[str]) -> Tokens:
    """Tokens of these texts, in order."""
    joined = "\n".join(("", *texts, ""))
    points = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    kinds = _kinds()[np.minimum(points, TABLE)]
    for first, last in UNSPACED[3:]:
        kinds[(points >= first) & (points <= last)] = ALONE
    starts, ends = _runs(kinds)
    offsets = np.cumsum([1, *(len(text) + 1 for text in texts)])
    bounds = np.searchsorted(starts, offsets)
    return Tokens(starts, ends, _hash(points, starts, ends), bounds, offsets[:-1])


def grams(tokens: Tokens, length: int) -> Hashes:
    """(tokens,) hashes of `length` tokens from each on; 0 where the text ends before."""
    mixed = tokens.hashes.copy()
    for step in range(1, length):
        mixed[:-step] = _mix(mixed[:-step] * SALT + tokens.hashes[step:])
    if length > 1:
        left = np.repeat(tokens.bounds[1:], np.diff(tokens.bounds)) - np.arange(len(mixed))
        mixed[left < length] = 0
    return mixed


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    table = np.full(TABLE + 1, SOLID, np.uint8)
    for point in range(TABLE):
        sign = chr(point)
        if sign.isspace() or point < 32:
            table[point] = BLANK
        elif sign in ".,;:!?\"'()[]{}`*_|“”‘’«»…—–-":
            table[point] = EDGE
    for first, last in UNSPACED[:3]:
        table[first : last + 1] = ALONE
    return table


def _runs(kinds: npt.NDArray[np.uint8]) -> tuple[Integers, Integers]:
    """Where tokens start and end: runs without blanks, edge punctuation off unless there is nothing else."""
    cut = np.zeros(len(kinds) + 1, bool)
    alone = kinds == ALONE
    blank = kinds == BLANK
    cut[1:-1] = (blank[1:] != blank[:-1]) | alone[1:] | alone[:-1]
    marks = np.flatnonzero(cut)
    starts, ends = marks[:-1], marks[1:]
    full = ~blank[starts]
    starts, ends = starts[full], ends[full]
    solid = np.flatnonzero(kinds >= SOLID)
    if not len(solid):
        return starts, ends
    first = solid[np.searchsorted(solid, starts).clip(max=len(solid) - 1)]
    last = solid[(np.searchsorted(solid, ends) - 1).clip(min=0)] + 1
    some = (first >= starts) & (first < ends)
    return np.where(some, first, starts), np.where(some, last, ends)


def _hash(points: npt.NDArray[np.uint32], starts: Integers, ends: Integers) -> Hashes:
    """Polynomial hashes modulo 2**64 as differences of running sums, brought back to position 0 and mixed."""
    return _mix(span_hashes(rolling_sums(points), starts, ends))


def _mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele et al. 2014), so that every bit of a hash depends on all."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
