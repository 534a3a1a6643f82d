"""What counting alone achieves: unigram and bigram models on the same tokens as the model's perplexity.

The bigram is interpolated Kneser-Ney (Kneser and Ney 1995; Chen and Goodman 1999, section 4.1.6),
with each order's discount estimated from its counts, so that the number beside a model's is no straw man.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forja.tokens.loader import Ids, TokenSplit
from forja.tokens.pairs import Pairs, count_pairs

LIMIT = 200_000_000
"""Training tokens counted at most, the first in the stream; more would not move a bigram model."""

Floats = NDArray[np.float64]


class Unigram:
    """Token frequencies, each count one higher so that every token has some probability (Laplace)."""

    def __init__(self, counts: Ids) -> None:
        smoothed = counts.astype(np.float64) + 1.0
        self.probabilities: Floats = smoothed / smoothed.sum()

    def probability(self, targets: Ids) -> Floats:
        return self.probabilities[targets]


class KneserNey:
    """Interpolated Kneser-Ney bigram over the vocabulary of the counts."""

    def __init__(self, found: Pairs) -> None:
        self.counts, self.vocabulary = found.times, len(found.singles)
        self.pairs = self._joined(found.left, found.right)
        self.discount = discount_of(found.times)
        self.totals = np.bincount(found.left, weights=found.times, minlength=self.vocabulary)
        followers = np.bincount(found.left, minlength=self.vocabulary)
        right = np.bincount(found.right, minlength=self.vocabulary)
        self.continuation: Floats = _continuation(right)
        self.backoff: Floats = np.ones(self.vocabulary)
        seen = self.totals > 0
        self.backoff[seen] = self.discount * followers[seen] / self.totals[seen]

    def probability(self, contexts: Ids, targets: Ids) -> Floats:
        """P(target | context) for each pair, (n,)."""
        wanted = self._joined(contexts, targets)
        place = np.minimum(np.searchsorted(self.pairs, wanted), max(0, len(self.pairs) - 1))
        found = self.pairs[place] == wanted if len(self.pairs) else np.zeros(len(wanted), bool)
        count = np.where(found, self.counts[place] if len(self.pairs) else 0, 0)
        direct = np.maximum(count - self.discount, 0) / np.maximum(self.totals[contexts], 1)
        return direct + self.backoff[contexts] * self.continuation[targets]

    def _joined(self, left: Ids, right: Ids) -> NDArray[np.uint64]:
        """left x vocabulary + right, rising as the pairs do."""
        return left.astype(np.uint64) * np.uint64(self.vocabulary) + right.astype(np.uint64)


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
    found = count_pairs(train, LIMIT)
    return Baselines(Unigram(found.singles), KneserNey(found))


def _perplexity(probabilities: Floats) -> float:
    return math.exp(-float(np.log(probabilities).mean()))
