"""The baseline that a classifier must beat: TF-IDF with logistic regression (Salton and Buckley 1988; Cox 1958).

It is given its best chance: words or characters, and how much to regularise, are chosen on a part of the training
rows that is kept apart for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

NAME = "TF-IDF with logistic regression"
STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse strengths of regularisation that are tried."""
MOST_FEATURES = 200_000
APART = 0.2
"""Share of the training rows on which the choice is made."""
MOST_COMPARED = 10_000
"""Rows that the choice is made from, at most; the final fit sees all."""
LONGEST = 20_000
"""Characters of a text that are looked at."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline. unit: `word` or `char_wb`; strength: of those in STRENGTHS; classes: how many columns."""

    unit: str
    strength: float
    classes: int
    vectorizer: TfidfVectorizer
    regression: LogisticRegression

    def scores(self, texts: Sequence[str]) -> Floats:
        """Probabilities, (texts, classes); a class that was in no training row has probability 0."""
        scores = np.zeros((len(texts), self.classes))
        if len(texts):
            found = self.vectorizer.transform(_cut(texts))
            scores[:, self.regression.classes_] = self.regression.predict_proba(found)
        return scores


def fit_baseline(
    texts: Sequence[str], labels: Ints, seed: int, *, classes: int | None = None, weights: Floats | None = None
) -> Baseline:
    """Choose and fit, on one core. labels: (texts,) places of the classes; weights: (texts,) of the rows, such as
    `fairness.reweighing` gives. Raises ForjaError for fewer than two classes, or texts without words.
    """
    if len(np.unique(labels)) < 2:
        raise ForjaError("the baseline needs training rows of two classes; these are of one.")
    weights = np.ones(len(labels)) if weights is None else weights
    cut = _cut(texts)
    unit, strength = _choose(cut, labels, weights, seed)
    vectorizer = _vectorizer(unit)
    regression = _fit(_counted(vectorizer, cut), labels, weights, strength)
    return Baseline(unit, strength, classes or int(labels.max()) + 1, vectorizer, regression)


def _choose(texts: list[str], labels: Ints, weights: Floats, seed: int) -> tuple[str, float]:
    """The unit and the strength of the highest F1, the mean over the classes, on rows kept apart."""
    from sklearn.metrics import f1_score

    order = np.random.default_rng(seed).permutation(len(texts))[:MOST_COMPARED]
    border = int(len(order) * APART)
    apart, kept = order[:border], order[border:]
    if len(np.unique(labels[kept])) < 2 or not border:
        return "word", STRENGTHS[1]
    best = (-1.0, "word", STRENGTHS[1])
    for unit in ("word", "char_wb"):
        vectorizer = _vectorizer(unit)
        seen = _counted(vectorizer, [texts[place] for place in kept])
        held = vectorizer.transform([texts[place] for place in apart])
        for strength in STRENGTHS:
            told = _fit(seen, labels[kept], weights[kept], strength).predict(held)
            score = f1_score(labels[apart], told, average="macro", sample_weight=weights[apart], zero_division=0)
            best = max(best, (float(score), unit, strength), key=lambda one: one[0])
    return best[1], best[2]


def _cut(texts: Sequence[str]) -> list[str]:
    return [text[:LONGEST] for text in texts]


def _vectorizer(unit: str) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=unit,
        ngram_range=(1, 2) if unit == "word" else (2, 5),
        # Signs count: an exclamation mark, a slash, a currency.
        token_pattern=r"(?u)\w+|[^\w\s]" if unit == "word" else None,
        sublinear_tf=True,
        min_df=2,
        max_features=MOST_FEATURES,
        dtype=np.float32,
    )


def _counted(vectorizer: TfidfVectorizer, texts: list[str]) -> Any:
    """The texts as vectors, (texts, features); where nothing occurs twice, with what occurs once."""
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:
        vectorizer.set_params(min_df=1)
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:
        raise ForjaError("the training texts hold no words, so that there is no baseline.") from None


def _fit(vectors: Any, labels: Ints, weights: Floats, strength: float) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=300).fit(vectors, labels, sample_weight=weights)
