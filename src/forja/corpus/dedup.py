"""Duplicates: exact by digest, near by MinHash-LSH with every candidate verified by exact Jaccard.

Broder 1997 (MinHash); Indyk and Motwani 1998 (LSH); the use on training text follows Lee et al. 2022.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from forja.recipe import NearDuplicates

WORDS = re.compile(r"\w+")
BATCH_DOCUMENTS = 2048
BATCH_CHARACTERS = 16 * 2**20
REPRESENTATIVES = 8
"""A bucket's members are compared with this many unlike ones before them, so that no bucket costs its square."""
MOST_SHINGLES = 65_536
"""Of a longer document the smallest hashes stand for all: a bottom-k sketch (Broder 1997, section 3)."""
MOST_CACHED = 4_000_000
"""Shingles kept in memory while candidates are verified."""

Keys = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]


def exact_key(text: str) -> bytes:
    """Equal for equal cleaned texts, and for no others."""
    return xxhash.xxh3_128_digest(text.encode())


def normalise(text: str) -> str:
    """Words in lower case with one space between: what duplicates share however they are laid out."""
    return " ".join(WORDS.findall(text.lower())) or text


def band_keys(texts: Iterable[str], settings: NearDuplicates) -> Iterator[Keys]:
    """LSH keys of batches of normalised texts, (bands, batch): two documents that share one are candidates."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if len(batch) == BATCH_DOCUMENTS or size >= BATCH_CHARACTERS:
            yield _fold(signatures(batch, settings), settings)
            batch, size = [], 0
    if batch:
        yield _fold(signatures(batch, settings), settings)


def signatures(texts: list[str], settings: NearDuplicates) -> Signatures:
    """MinHash signatures of normalised texts, (documents, bands x rows)."""
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")  # read when it is imported
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    import daft

    hashes = settings.bands * settings.rows
    frame = daft.from_arrow(pa.table({"text": texts}))
    hashed = frame.select(
        frame["text"].minhash(num_hashes=hashes, ngram_size=settings.shingle, hash_function="xxhash64").alias("hashes")
    ).to_arrow()
    column = hashed["hashes"].combine_chunks()
    return np.asarray(column.flatten()).astype(np.uint32).reshape(len(texts), hashes)


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
    spaces = np.flatnonzero(np.frombuffer(words, np.uint8) == ord(" "))
    starts = np.r_[0, spaces + 1][: max(1, len(spaces) + 2 - size)]
    ends = np.r_[spaces, len(words)][min(size - 1, len(spaces)) :]
    digest = xxhash.xxh3_64_intdigest
    runs = zip(starts.tolist(), ends.tolist(), strict=True)
    hashes = np.fromiter((digest(words[start:end]) for start, end in runs), np.uint64, len(starts))
    return frozenset(np.unique(hashes)[:MOST_SHINGLES].tolist())


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


def _fold(matrix: Signatures, settings: NearDuplicates) -> Keys:
    """The rows of each band folded to one 64-bit key."""
    parts = matrix.reshape(len(matrix), settings.bands, settings.rows)
    keys = np.zeros((settings.bands, len(matrix)), np.uint64)
    with np.errstate(over="ignore"):
        for row in range(settings.rows):
            keys = (keys ^ parts[:, :, row].T) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    return keys


def _buckets(keys: Keys) -> Iterator[npt.NDArray[np.int64]]:
    """Places that share a key, two or more, each in rising order."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    borders = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1], True])
    for start, end in pairwise(borders):
        if end - start > 1:
            yield order[start:end]
