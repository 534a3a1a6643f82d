"""What counting alone achieves: unigram and bigram models on the same tokens as the model's perplexity.

The bigram is interpolated Kneser-Ney (Kneser and Ney 1995; Chen and Goodman 1999, section 4.1.6),
with each order's discount estimated from its counts, so that the number beside a model's is no straw man.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forja.tokens.loader import TokenSplit

CHUNK = 1 << 24
"""Tokens counted at once: 128 MiB of pairs."""
LIMIT = 200_000_000
"""Training tokens counted at most, the first in the stream; more would not move a bigram model."""

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class Unigram:
    """Token frequencies, each count one higher so that every token has some probability (Laplace)."""

    def __init__(self, counts: Ids) -> None:
        smoothed = counts.astype(np.float64) + 1.0
        self.probabilities: Floats = smoothed / smoothed.sum()

    def probability(self, targets: Ids) -> Floats:
        return self.probabilities[targets]


class KneserNey:
    """Interpolated Kneser-Ney bigram over `vocabulary` tokens."""

    def __init__(self, pairs: NDArray[np.uint64], counts: Ids, vocabulary: int) -> None:
        """pairs: sorted unique left * vocabulary + right; counts: how often each occurs."""
        self.pairs, self.counts, self.vocabulary = pairs, counts, vocabulary
        left = (pairs // np.uint64(vocabulary)).astype(np.int64)
        right = (pairs % np.uint64(vocabulary)).astype(np.int64)
        self.discount = discount_of(counts)
        self.totals = np.bincount(left, weights=counts, minlength=vocabulary)
        followers = np.bincount(left, minlength=vocabulary)
        self.continuation: Floats = _continuation(np.bincount(right, minlength=vocabulary))
        self.backoff: Floats = np.ones(vocabulary)
        seen = self.totals > 0
        self.backoff[seen] = self.discount * followers[seen] / self.totals[seen]

    def probability(self, contexts: Ids, targets: Ids) -> Floats:
        """P(target | context) for each pair, (n,)."""
        wanted = contexts.astype(np.uint64) * np.uint64(self.vocabulary) + targets.astype(np.uint64)
        place = np.minimum(np.searchsorted(self.pairs, wanted), max(0, len(self.pairs) - 1))
        found = self.pairs[place] == wanted if len(self.pairs) else np.zeros(len(wanted), bool)
        count = np.where(found, self.counts[place] if len(self.pairs) else 0, 0)
        direct = np.maximum(count - self.discount, 0) / np.maximum(self.totals[contexts], 1)
        return direct + self.backoff[contexts] * self.continuation[targets]


class Baselines(NamedTuple):
    """Both models, counted once; they score any number of held-out streams."""

    unigram: Unigram
    bigram: KneserNey

    def perplexities(self, stream: Ids, skip: NDArray[np.bool_] | None = None) -> tuple[float, float]:
        """Unigram and bigram perplexity of the tokens of `stream`, (n,), from the second on: each token is a
        target once but for those that `skip`, (n,), names, and its context is the token before it."""
        contexts, targets = stream[:-1], stream[1:]
        if skip is not None and skip.any():
            contexts, targets = contexts[~skip[1:]], targets[~skip[1:]]
        return _perplexity(self.unigram.probability(targets)), _perplexity(self.bigram.probability(contexts, targets))


def discount_of(counts: Ids) -> float:
    """n1 / (n1 + 2 n2) (Ney, Essen and Kneser 1994); a half where the counts of counts cannot tell."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5


def _continuation(histories: Ids) -> Floats:
    """The lower order: of how many contexts each token is the continuation, discounted down to uniform."""
    vocabulary, kinds = len(histories), int(histories.sum())
    if kinds == 0:
        return np.full(vocabulary, 1 / vocabulary)
    discount = discount_of(histories)
    spare = discount * np.count_nonzero(histories) / kinds
    shared: Floats = np.maximum(histories - discount, 0) / kinds + spare / vocabulary
    return shared


def count_train(train: TokenSplit) -> Baselines:
    """Both models, from the training stream."""
    vocabulary = train.vocabulary
    singles = np.zeros(vocabulary, np.int64)
    pairs, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    end = min(train.tokens, LIMIT)
    for start in range(0, end, CHUNK):
        # One token more than the chunk, so that the pair across the border is counted, once.
        ids = train.read(start, min(CHUNK + 1, end - start))
        held = ~train.erased(start, len(ids))
        mine = slice(CHUNK if start + CHUNK < end else None)
        singles += np.bincount(ids[mine][held[mine]], minlength=vocabulary)
        joined = (ids[:-1].astype(np.uint64) * np.uint64(vocabulary) + ids[1:].astype(np.uint64))[held[1:]]
        pairs, counts = _merge(pairs, counts, *np.unique(joined, return_counts=True))
    return Baselines(Unigram(singles), KneserNey(pairs, counts, vocabulary))


def _perplexity(probabilities: Floats) -> float:
    return math.exp(-float(np.log(probabilities).mean()))


def _merge(
    pairs: NDArray[np.uint64], counts: Ids, more: NDArray[np.uint64], more_counts: Ids
) -> tuple[NDArray[np.uint64], Ids]:
    if not len(pairs):
        return more, more_counts.astype(np.int64)
    together, place = np.unique(np.concatenate((pairs, more)), return_inverse=True)
    summed = np.bincount(place, weights=np.concatenate((counts, more_counts)), minlength=len(together))
    return together, summed.astype(np.int64)
