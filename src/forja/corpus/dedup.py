"""What makes two documents duplicates: exact by digest, near by MinHash-LSH and exact Jaccard.

Broder 1997 (MinHash); Indyk and Motwani 1998 (LSH); the use on training text follows Lee et al. 2022.
Pure functions of arrays; which file they lie in and which worker calls them is `clusters.py`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from forja.recipe import NearDuplicates

WORDS = re.compile(r"\w+")
SPACE = ord(" ")
ASCII_WORDS = bytes(
    code if code >= 128 else ord(chr(code).lower()) if re.match(r"\w", chr(code)) else SPACE for code in range(256)
)
PLANE = 1 << 16
SURROGATES = slice(0xD800, 0xE000)
ALL_PAIRS = 24
"""Members of a bucket up to which every pair is a candidate; of more, each meets REPRESENTATIVES and the one before."""
REPRESENTATIVES = 8
MOST_SHINGLES = 65_536
"""Of a longer document the smallest hashes stand for all: a bottom-k sketch (Broder 1997, section 3)."""
SEED = 1

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


def exact_key(text: str) -> bytes:
    """16 bytes: equal for equal cleaned texts, and for no others."""
    return xxhash.xxh3_128_digest(text.encode())


def normalise(text: str) -> bytes:
    """Words in lower case with one space between, in UTF-8: what duplicates share however they are laid out."""
    if text.isascii():
        return _squeezed(text.encode().translate(ASCII_WORDS)) or text.encode()
    others, changed = _points_beyond_ascii()
    seen = _points_of(text)
    if (seen & changed).any():
        text = text.lower()
        seen = _points_of(text)
    if seen[SURROGATES].any():
        words = " ".join(WORDS.findall(text.lower()))
        return (words or text).encode("utf-8", "surrogatepass")
    spaced = text.encode().translate(ASCII_WORDS)
    for point in np.flatnonzero(seen & others).tolist():
        spaced = spaced.replace(chr(point).encode(), b" ")
    return _squeezed(spaced) or text.encode()


def _points_of(text: str) -> npt.NDArray[np.bool_]:
    """(PLANE,) which characters the text holds; surrogates stand for what is beyond the basic plane."""
    seen = np.zeros(PLANE, bool)
    seen[np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)] = True
    return seen


def _squeezed(words: bytes) -> bytes:
    """One space for each run of them, and none at the ends."""
    points = np.frombuffer(words, np.uint8)
    kept = points != SPACE
    kept[1:] |= kept[:-1]
    squeezed: bytes = points[kept].tobytes()
    return squeezed.strip()


@cache
def _points_beyond_ascii() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(PLANE,) each: which characters of the basic plane are no part of a word, and which lower case changes."""
    points = [chr(point) for point in range(128, PLANE)]
    ascii_alone = [False] * 128
    others = [WORDS.fullmatch(point) is None for point in points]
    changed = [point.lower() != point for point in points]
    return np.array(ascii_alone + others), np.array(ascii_alone + changed)


def band_keys(words: Sequence[bytes], settings: NearDuplicates) -> Keys:
    """LSH keys of normalised texts, (texts, bands): two documents that share one in a band are candidates."""
    import daft

    if not words:
        return np.zeros((0, settings.bands), np.uint64)
    count = settings.bands * settings.rows
    ends = np.cumsum([0, *map(len, words)])
    column = pa.LargeStringArray.from_buffers(len(words), pa.py_buffer(ends), pa.py_buffer(b"".join(words)))
    series = daft.Series.from_arrow(column)
    hashes = series.minhash(count, settings.shingle, SEED, "xxhash3_64").to_arrow()
    least = np.asarray(hashes.flatten(), np.uint64).reshape(len(words), settings.bands, settings.rows)
    keys = np.zeros((len(words), settings.bands), np.uint64)
    for row in range(settings.rows):
        keys = (keys ^ least[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def candidate_pairs(keys: Keys, places: Places) -> Places:
    """Pairs of places (lesser, greater) that share a key of one band, (pairs, 2). places: rising, (documents,)."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    borders = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1], True])
    sizes = np.diff(borders)
    found: list[Places] = []
    twos = borders[:-1][sizes == 2]
    if len(twos):
        found.append(np.stack([places[order[twos]], places[order[twos + 1]]], axis=1))
    for start, size in zip(borders[:-1][sizes > 2], sizes[sizes > 2], strict=True):
        found.append(_pairs_among(places[order[start : start + size]]))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _pairs_among(members: Places) -> Places:
    """members: rising. All pairs of a small bucket; of a large one enough to connect it, so that none costs its
    square."""
    if len(members) <= ALL_PAIRS:
        one, two = np.triu_indices(len(members), 1)
        return np.stack([members[one], members[two]], axis=1)
    pairs = [np.stack([members[:-1], members[1:]], axis=1)]
    for number in range(REPRESENTATIVES):
        representative = members[number * len(members) // REPRESENTATIVES]
        others = members[members != representative]
        pairs.append(np.stack([np.minimum(others, representative), np.maximum(others, representative)], axis=1))
    return np.concatenate(pairs)


def unique_pairs(pairs: Places) -> Places:
    """The pairs without repetition, sorted, (pairs, 2)."""
    if not len(pairs):
        return pairs
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs[np.r_[True, (pairs[1:] != pairs[:-1]).any(axis=1)]]


def shingles(words: bytes, size: int) -> Keys:
    """Sorted unique 64-bit hashes of the runs of `size` words, MOST_SHINGLES at most; of a shorter text, of all."""
    return np.unique(_shingle_hashes(words, size))[:MOST_SHINGLES]


def _shingle_hashes(words: bytes, size: int) -> Keys:
    spaces = np.flatnonzero(np.frombuffer(words, np.uint8) == ord(" "))
    starts = np.r_[0, spaces + 1][: max(1, len(spaces) + 2 - size)]
    ends = np.r_[spaces, len(words)][min(size - 1, len(spaces)) :]
    digest = xxhash.xxh3_64_intdigest
    runs = zip(starts.tolist(), ends.tolist(), strict=True)
    return np.fromiter((digest(words[start:end]) for start, end in runs), np.uint64, len(starts))


def jaccard(one: Keys, two: Keys) -> float:
    """Shared shingles over all shingles of both; an estimate where one of them is a sketch. Both sorted, unique."""
    tops = [shingle[-1] for shingle in (one, two) if len(shingle) == MOST_SHINGLES]
    if tops:
        top = min(tops)  # below the lower of the sketches' ends both are complete
        one, two = one[: np.searchsorted(one, top, "right")], two[: np.searchsorted(two, top, "right")]
    if not len(one) or not len(two):
        return 0.0
    if len(one) > len(two):
        one, two = two, one
    at = np.searchsorted(two, one)
    shared = int(np.count_nonzero(two[np.minimum(at, len(two) - 1)] == one))
    return shared / (len(one) + len(two) - shared)


def components(edges: Places) -> tuple[Places, Places]:
    """Connected components: the places that have an edge, rising, and the least place of each one's component.

    Hooking and pointer jumping (Shiloach and Vishkin 1982) over whole arrays: the result is the same whatever
    the order of the edges.
    """
    nodes, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    label = np.arange(len(nodes))
    while True:
        one, two = label[ends[:, 0]], label[ends[:, 1]]
        apart = one != two
        if not apart.any():
            return nodes.astype(np.int64), nodes[label].astype(np.int64)
        np.minimum.at(label, np.maximum(one, two)[apart], np.minimum(one, two)[apart])
        while True:
            jumped = label[label]
            if (jumped == label).all():
                break
            label = jumped


def spanning_forest(edges: Places) -> Places:
    """Edges enough to connect what `edges` connect: what one worker sends on of all it found."""
    if len(edges) < 2:
        return edges
    nodes, least = components(edges)
    inner = nodes != least
    return np.stack([least[inner], nodes[inner]], axis=1)


def borders_of(values: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of equal rows in a sorted array."""
    if not len(values):
        return
    different = values[1:] != values[:-1]
    if different.ndim > 1:
        different = different.any(axis=1)
    yield from pairwise(np.flatnonzero(np.r_[True, different, True]).tolist())
