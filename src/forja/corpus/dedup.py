"""Duplicates: exact by digest, near by MinHash-LSH with every candidate verified by exact Jaccard.

Broder 1997 (MinHash); Indyk and Motwani 1998 (LSH); the use on training text follows Lee et al. 2022.
"""

from __future__ import annotations

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
REPRESENTATIVES = 8
"""A bucket's members are compared with this many unlike ones before them, so that no bucket costs its square."""

Signatures = npt.NDArray[np.uint32]


def exact_key(text: str) -> bytes:
    """Equal for equal cleaned texts, and for no others."""
    return xxhash.xxh3_128_digest(text.encode())


def normalise(text: str) -> str:
    """Words in lower case with one space between: what duplicates share however they are laid out."""
    return " ".join(WORDS.findall(text.lower())) or text


def signatures(texts: Iterable[str], settings: NearDuplicates) -> Iterator[Signatures]:
    """MinHash signatures of batches of normalised texts, (batch, bands x rows) uint32 each."""
    import daft

    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH_DOCUMENTS:
            yield _signatures(daft, batch, settings)
            batch = []
    if batch:
        yield _signatures(daft, batch, settings)


def _signatures(daft: object, texts: list[str], settings: NearDuplicates) -> Signatures:
    hashes = settings.bands * settings.rows
    frame = daft.from_arrow(pa.table({"text": texts}))  # type: ignore[attr-defined]
    hashed = frame.select(
        frame["text"].minhash(num_hashes=hashes, ngram_size=settings.shingle, hash_function="xxhash64").alias("hashes")
    ).to_arrow()
    column = hashed["hashes"].combine_chunks()
    return np.asarray(column.flatten()).astype(np.uint32).reshape(len(texts), hashes)


def near_duplicate_clusters(
    matrix: Signatures, text_of: Callable[[int], str], settings: NearDuplicates
) -> npt.NDArray[np.int64]:
    """Connected components of verified pairs: per document the smallest member of its cluster, (documents,).

    matrix: signatures, (documents, bands x rows); text_of gives a document's normalised text by its place.
    """
    parent = np.arange(len(matrix), dtype=np.int64)

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place

    shingles: dict[int, frozenset[int]] = {}

    def shingles_of(place: int) -> frozenset[int]:
        if place not in shingles:
            if len(shingles) > 50_000:
                shingles.clear()
            shingles[place] = shingle_set(text_of(place), settings.shingle)
        return shingles[place]

    for band in range(settings.bands):
        columns = np.ascontiguousarray(matrix[:, band * settings.rows : (band + 1) * settings.rows])
        keys = _row_keys(columns)
        for members in _buckets(keys):
            unlike = [members[0]]
            for place in members[1:]:
                for other in unlike:
                    one, two = root(int(place)), root(int(other))
                    if one == two:
                        break
                    if jaccard(shingles_of(int(place)), shingles_of(int(other))) >= settings.threshold:
                        parent[max(one, two)] = min(one, two)
                        break
                else:
                    if len(unlike) < REPRESENTATIVES:
                        unlike.append(place)
    return np.array([root(place) for place in range(len(parent))], dtype=np.int64)


def shingle_set(text: str, size: int) -> frozenset[int]:
    """64-bit hashes of the runs of `size` words; of a shorter text, of all its words."""
    words = text.split(" ")
    runs = (" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1)))
    return frozenset(xxhash.xxh3_64_intdigest(run.encode()) for run in runs)


def jaccard(one: frozenset[int], two: frozenset[int]) -> float:
    """Shared shingles over all shingles of both."""
    shared = len(one & two)
    return shared / max(1, len(one) + len(two) - shared)


def _row_keys(columns: Signatures) -> npt.NDArray[np.uint64]:
    """A 64-bit key for each row of one band."""
    keys = np.zeros(len(columns), np.uint64)
    with np.errstate(over="ignore"):
        for column in columns.T:
            keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    return keys


def _buckets(keys: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.int64]]:
    """Places that share a key, two or more, each in rising order."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    borders = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1], True])
    for start, end in pairwise(borders):
        if end - start > 1:
            yield order[start:end]
