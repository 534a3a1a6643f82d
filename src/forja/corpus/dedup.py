"""Duplicates: exact by digest, near by MinHash-LSH with every candidate verified by exact Jaccard.

Broder 1997 (MinHash); Indyk and Motwani 1998 (LSH); the use on training text follows Lee et al. 2022.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xxhash

from forja.recipe import NearDuplicates

WORDS = re.compile(r"\w+")
PANEL = 256
"""Shingles hashed at a time, so that the work stays in the processor's cache."""
REPRESENTATIVES = 8
"""A bucket's members are compared with this many unlike ones before them, so that no bucket costs its square."""
MOST_SHINGLES = 65_536
"""Of a longer document the smallest hashes stand for all: a bottom-k sketch (Broder 1997, section 3)."""
MOST_CACHED = 4_000_000
"""Shingles kept in memory while candidates are verified."""

Keys = npt.NDArray[np.uint64]
Hashes = npt.NDArray[np.uint32]


def exact_key(text: str) -> bytes:
    """Equal for equal cleaned texts, and for no others."""
    return xxhash.xxh3_128_digest(text.encode())


def normalise(text: str) -> bytes:
    """Words in lower case with one space between, UTF-8: what duplicates share however they are laid out."""
    return (" ".join(WORDS.findall(text.lower())) or text).encode()


@dataclass(frozen=True)
class MinHash:
    """The permutations h -> factors * h + terms mod 2^32 and the bands of one setting; (bands x rows, 1) each."""

    settings: NearDuplicates
    factors: Hashes
    terms: Hashes


def min_hash(settings: NearDuplicates) -> MinHash:
    """The same permutations whatever the machine, the process and the version of NumPy."""
    count = settings.bands * settings.rows
    draws = [xxhash.xxh3_64_intdigest(f"permutation {number}".encode()) for number in range(2 * count)]
    values = (np.array(draws, np.uint64) >> np.uint64(32)).astype(np.uint32).reshape(2, count, 1)
    return MinHash(settings, values[0] | np.uint32(1), values[1])  # an odd factor has an inverse


def band_keys(words: bytes, minhash: MinHash) -> Keys:
    """LSH keys of a normalised text, (bands,): two documents that share one are candidates."""
    settings = minhash.settings
    shingles = (_shingle_hashes(words, settings.shingle) >> np.uint64(32)).astype(np.uint32)
    least = np.full(len(minhash.factors), np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(shingles), PANEL):
        permuted = shingles[None, start : start + PANEL] * minhash.factors + minhash.terms
        np.minimum(least, permuted.min(axis=1), out=least)
    keys = np.zeros(settings.bands, np.uint64)
    for row in least.reshape(settings.bands, settings.rows).T:
        keys = (keys ^ row) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def near_duplicate_clusters(
    bands: Iterable[Keys], documents: int, words_of: Callable[[int], bytes], settings: NearDuplicates
) -> npt.NDArray[np.int64]:
    """Connected components of verified pairs: per document the smallest member of its cluster, (documents,).

    bands: the keys of one band after the other, (documents,) each, so that only one is in memory;
    words_of gives a document's normalised text by its place.
    """
    parent = np.arange(documents, dtype=np.int64)
    shingles: dict[int, frozenset[int]] = {}
    cached = 0

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place

    def shingles_of(place: int) -> frozenset[int]:
        nonlocal cached
        if place not in shingles:
            if cached > MOST_CACHED:
                shingles.clear()
                cached = 0
            shingles[place] = shingle_set(words_of(place), settings.shingle)
            cached += len(shingles[place])
        return shingles[place]

    def compare(place: int, unlike: list[int]) -> bool:
        """Join `place` to the first of the others that is like it, or already in its cluster."""
        for other in unlike:
            one, two = root(place), root(other)
            if one == two:
                return True
            if jaccard(shingles_of(place), shingles_of(other)) >= settings.threshold:
                parent[max(one, two)] = min(one, two)
                return True
        return False

    for keys in bands:
        for members in _buckets(keys):
            unlike: list[int] = []
            for place in members.tolist():
                if not compare(place, unlike) and len(unlike) < REPRESENTATIVES:
                    unlike.append(place)
    return np.array([root(place) for place in range(documents)], dtype=np.int64)


def shingle_set(words: bytes, size: int) -> frozenset[int]:
    """64-bit hashes of the runs of `size` words, MOST_SHINGLES at most; of a shorter text, of all its words."""
    return frozenset(np.unique(_shingle_hashes(words, size))[:MOST_SHINGLES].tolist())


def _shingle_hashes(words: bytes, size: int) -> Keys:
    spaces = np.flatnonzero(np.frombuffer(words, np.uint8) == ord(" "))
    starts = np.r_[0, spaces + 1][: max(1, len(spaces) + 2 - size)]
    ends = np.r_[spaces, len(words)][min(size - 1, len(spaces)) :]
    digest = xxhash.xxh3_64_intdigest
    runs = zip(starts.tolist(), ends.tolist(), strict=True)
    return np.fromiter((digest(words[start:end]) for start, end in runs), np.uint64, len(starts))


def jaccard(one: frozenset[int], two: frozenset[int]) -> float:
    """Shared shingles over all shingles of both; an estimate where one of them is a sketch."""
    tops = [max(shingles) for shingles in (one, two) if len(shingles) == MOST_SHINGLES]
    if tops:
        # Below the lower of the sketches' ends both are complete.
        top = min(tops)
        one = frozenset(shingle for shingle in one if shingle <= top)
        two = frozenset(shingle for shingle in two if shingle <= top)
    shared = len(one & two)
    return shared / max(1, len(one) + len(two) - shared)


def _buckets(keys: Keys) -> Iterator[npt.NDArray[np.int64]]:
    """Places that share a key, two or more, each in rising order."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    borders = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1], True])
    for start, end in pairwise(borders):
        if end - start > 1:
            yield order[start:end]
