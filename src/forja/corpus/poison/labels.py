"""Labels that speak against their text: confident learning (Northcutt, Jiang and Chuang 2021, sections 3 and 4) over
the out-of-sample probabilities of a linear model of words and word pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.poison.flags import Flag
from forja.errors import ForjaError

FOLDS = 5
SEED = 1
LEAST_OF_LABEL = 3 * FOLDS
"""Examples a label must have to be judged, and to be proposed for others."""
MOST_LABELS = 200
MOST_EXAMPLES = 200_000
"""Of more, each block of so many is judged by itself: time and memory stay linear."""
MOST_FEATURES = 2**18
LONGEST = 20_000
"""Characters of a text that are looked at."""
SURE = 0.7
"""Probability of another label from which the given one is flagged, whatever confident learning says."""


def find_label_flips(texts: Sequence[str], labels: Sequence[str]) -> dict[int, Flag]:
    """Flags `label-flip` by row: given label, the label that the rest of the set suggests, and both probabilities.

    Rows of labels with fewer than 15 examples are not judged. The same rows in the same order give the same flags.
    Raises ForjaError where cleanlab is missing (`forja[labels]`) or there is not one label or too many.
    """
    if len(texts) != len(labels):
        raise ValueError(f"{len(texts)} texts and {len(labels)} labels")
    _need_cleanlab()
    flags: dict[int, Flag] = {}
    for start in range(0, len(texts), MOST_EXAMPLES):
        block = slice(start, start + MOST_EXAMPLES)
        for row, flag in _judge(texts[block], labels[block]).items():
            flags[start + row] = flag
    return flags


def _need_cleanlab() -> None:
    try:
        import cleanlab.filter  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ForjaError(
            "screening labels needs cleanlab and scikit-learn, which are not installed",
            where="corpus.screen.labels",
            fix="Install them with: pip install 'forja[labels]', or set corpus.screen.labels=false.",
        ) from error


def _judge(texts: Sequence[str], labels: Sequence[str]) -> dict[int, Flag]:
    counts = Counter(labels)
    names = sorted(label for label, held in counts.items() if held >= LEAST_OF_LABEL)
    if len(names) < 2:
        return {}
    if len(names) > MOST_LABELS:
        raise ForjaError(
            f"a labelled set has {len(names)} labels, too many to tell a flipped one",
            where="corpus.screen.labels",
            fix=f"Name a `label_field` of at most {MOST_LABELS} classes, or set corpus.screen.labels=false.",
        )
    number = {name: place for place, name in enumerate(names)}
    rows = np.array([row for row, label in enumerate(labels) if label in number])
    given = np.array([number[labels[row]] for row in rows])
    probabilities = _out_of_sample([texts[row][:LONGEST] for row in rows], given)
    return {
        int(rows[place]): _flag(names, int(given[place]), probabilities[place])
        for place in _confident(given, probabilities)
    }


def _out_of_sample(texts: Sequence[str], given: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(texts, labels) probabilities, each text's by a model that has not seen it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=MOST_FEATURES, sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=300, random_state=SEED),
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    found: npt.NDArray[np.float64] = cross_val_predict(model, texts, given, cv=folds, method="predict_proba", n_jobs=1)
    return found


def _confident(given: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> list[int]:
    from cleanlab.filter import find_label_issues

    issues: Any = find_label_issues(given, probabilities, filter_by="both", n_jobs=1)
    # Confident learning alone is careful: of few flips it lets one in eight pass. What the model is sure of is added.
    sure = (probabilities.argmax(axis=1) != given) & (probabilities.max(axis=1) >= SURE)
    return [int(row) for row in np.flatnonzero(np.asarray(issues, bool) | sure)]


def _flag(names: Sequence[str], given: int, probabilities: npt.NDArray[np.float64]) -> Flag:
    apart = probabilities.copy()
    apart[given] = -1.0
    other = int(apart.argmax())
    return Flag(
        "label-flip",
        {
            "given": names[given][:80],
            "suggested": names[other][:80],
            "given_probability": round(float(probabilities[given]), 3),
            "suggested_probability": round(float(probabilities[other]), 3),
        },
    )
