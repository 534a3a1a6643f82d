"""How often each token of a split occurs, and each pair of neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forja.tokens.loader import Ids, TokenSplit

CHUNK = 1 << 24
"""Tokens counted at once: 128 MiB of pairs."""


class Pairs(NamedTuple):
    """singles: (vocabulary,), how often each token occurs; left, right: the pairs that do, rising; times: how often,
    (pairs,) each."""

    singles: Ids
    left: Ids
    right: Ids
    times: Ids


def count_pairs(split: TokenSplit, limit: int) -> Pairs:
    """Counts over the first `limit` tokens of the stream, in which documents have no order; what was erased is not
    counted, and follows no token."""
    vocabulary = split.vocabulary
    singles = np.zeros(vocabulary, np.int64)
    pairs, times = np.empty(0, np.uint64), np.empty(0, np.int64)
    end = min(split.tokens, limit)
    for start in range(0, end, CHUNK):
        # One token more than the chunk, so that the pair across the border is counted, once.
        ids = split.read(start, min(CHUNK + 1, end - start))
        held = ~split.erased(start, len(ids))
        mine = slice(CHUNK if start + CHUNK < end else None)
        singles += np.bincount(ids[mine][held[mine]], minlength=vocabulary)
        joined = (ids[:-1].astype(np.uint64) * np.uint64(vocabulary) + ids[1:].astype(np.uint64))[held[1:]]
        pairs, times = _merge(pairs, times, *np.unique(joined, return_counts=True))
    left, right = np.divmod(pairs, np.uint64(vocabulary))
    return Pairs(singles, left.astype(np.int64), right.astype(np.int64), times)


def _merge(
    pairs: NDArray[np.uint64], times: Ids, more: NDArray[np.uint64], more_times: Ids
) -> tuple[NDArray[np.uint64], Ids]:
    if not len(pairs):
        return more, more_times.astype(np.int64)
    together, place = np.unique(np.concatenate((pairs, more)), return_inverse=True)
    summed = np.bincount(place, weights=np.concatenate((times, more_times)), minlength=len(together))
    return together, summed.astype(np.int64)
