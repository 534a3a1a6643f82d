"""Where a classifier's threshold comes from: validation data, and the unlabelled scores of a new collection.

A classifier that ranks a new collection well may still tell it badly at the old threshold: there are more or fewer
positives there than in training, and its scores lie elsewhere. All here are pure functions of probabilities of the
positive class and of labels of 0 and 1, (items,) each; what is at a threshold or above is told positive.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError

FEWEST = 30
"""Scores below which a collection, or the validation data, tells nothing of its distribution."""
LEAST = 1e-7
"""Probabilities are held this far from 0 and 1, that they have a logit."""
RAREST = 0.01
"""Share that the rarer class of a collection is taken to have, at least."""
ROUNDS = 300
WIDTH, FLOOR, PULL, EDGE = 0.05, 0.3, 12.0, 0.1
"""Of the valley, in distances between the medians of validation's classes: the kernel's width, the density below which
none is lower, how strongly it is drawn to where the threshold is expected, and how far from the medians it keeps."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def expected_f1_threshold(probability: Floats) -> float:
    """From calibrated probabilities, (items,), where F1 is expected to be highest (Ye et al. 2012, section 3). It moves
    less from sample to sample than the threshold that was best for the labels."""
    falling = np.sort(probability)[::-1]
    told = np.arange(1, len(falling) + 1)
    expected = 2 * np.cumsum(falling) / (told + falling.sum())
    best = int(expected.argmax())
    after = falling[best + 1] if best + 1 < len(falling) else 0.0
    return float((falling[best] + after) / 2)


def best_f1_threshold(labels: Ints, probability: Floats) -> float:
    """The threshold of the highest F1, halfway to the next lower score; of several the highest. Raises ForjaError
    where no label is positive."""
    if not labels.any():
        raise ForjaError("a threshold is chosen on data with positives; these have none.")
    order = np.argsort(-probability, kind="stable")
    falling, hits = probability[order], np.cumsum(labels[order])
    scores = 2 * hits / (np.arange(1, len(labels) + 1) + hits[-1])
    last_of_score = np.r_[falling[1:] != falling[:-1], True]
    best = int(np.where(last_of_score, scores, -1).argmax())
    return float(falling[best] + falling[best + 1]) / 2 if best + 1 < len(falling) else float(falling[best])


def fit_temperature(log_probabilities: Floats, labels: Ints) -> float:
    """The temperature by which logits are divided so that their likelihood is highest (Guo et al. 2017, section 4.2).
    log_probabilities: (items, classes), or logits; between 0.05 and 20."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(labels))

    def nats(log_temperature: float) -> float:
        return -float(log_softmax(log_probabilities / np.exp(log_temperature), axis=1)[rows, labels].mean())

    found = minimize_scalar(nats, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def shifted_prior(probability: Floats, prior: float) -> float:
    """The share of positives in a collection, by EM on its unlabelled probabilities (Saerens, Latinne and Decaestecker
    2002, equation 2.8). prior: that of the labels which the probabilities were made for."""
    share = prior
    for _ in range(ROUNDS):
        positive = probability * share / prior
        negative = (1 - probability) * (1 - share) / (1 - prior)
        share, before = float(np.clip((positive / (positive + negative)).mean(), RAREST, 1 - RAREST)), share
        if abs(share - before) < 1e-7:
            break
    return share


def adapted_threshold(probability_of_new: Floats, *, validation: tuple[Floats, Ints]) -> tuple[float, str]:
    """A threshold for a collection without labels, and a sentence that says where it comes from. validation:
    probabilities and labels of data of the training's origin.

    It is the one in the middle of three, so that one that fails does no harm: where F1 is expected to be highest on
    validation data; where it moves to if only the share of positives is another (`shifted_prior`); and the valley
    between the collection's own heaps of scores. Where there is too little to go by, it is the first.
    """
    probability, labels = validation
    if not labels.any():
        return 0.5, "0.5, as no validation label is positive"
    if len(labels) < FEWEST or labels.all():
        sentence = "of the highest F1 on the validation data, which is too small to adapt it"
        return best_f1_threshold(labels, probability), sentence
    slope, height = platt(logits(probability), labels)
    calibrated = _sigmoid(slope * logits(probability) + height)
    known = float(logits(np.array([expected_f1_threshold(calibrated)]))[0] - height) / slope
    if len(probability_of_new) < FEWEST:
        sentence = "of the highest F1 to expect on the validation data, as the collection is too small to adapt it"
        return float(_sigmoid(np.array(known))), sentence
    new, prior = logits(probability_of_new), float(labels.mean())
    share = shifted_prior(_sigmoid(slope * new + height), prior)
    shifted = (np.log(prior / (1 - prior)) - np.log(share / (1 - share)) - height) / slope
    middle = float(
        np.median([known, shifted, valley(new, logits(probability), labels, (shifted - height / slope) / 2)])
    )
    threshold = float(_sigmoid(np.array(middle)))
    told = float((probability_of_new >= threshold).mean())
    return threshold, (
        "adapted to this collection without its labels, the one in the middle of validation's, of that moved by the "
        f"share of positives ({share:.0%} by its scores), and of the valley between its scores; {told:.0%} are told "
        "positive"
    )


def platt(scores: Floats, labels: Ints) -> tuple[float, float]:
    """The slope and height of the line of log odds over scores, by logistic regression (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=100).fit(scores[:, None], labels)
    return max(float(fitted.coef_[0, 0]), LEAST), float(fitted.intercept_[0])


def valley(new: Floats, known: Floats, labels: Ints, expected: float) -> float:
    """Where the density of a collection's scores is lowest between the medians of validation's classes, `expected`
    preferred where it is about as low elsewhere. new, known: logits."""
    low, high = (float(np.median(known[labels == label])) for label in (0, 1))
    apart = high - low
    if apart <= 0:
        return expected
    places = np.linspace(low + EDGE * apart, high - EDGE * apart, 201)
    kernel = np.exp(-0.5 * ((places[:, None] - new[None, :]) / (WIDTH * apart)) ** 2)
    density = kernel.mean(axis=1) / (WIDTH * np.sqrt(2 * np.pi))
    cost = np.log(density + FLOOR) + PULL * ((places - expected) / apart) ** 2
    return float(places[int(cost.argmin())])


def _sigmoid(scores: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(scores, -40, 40)))


def logits(probability: Floats) -> Floats:
    """Log odds, those of certain items held finite."""
    held = np.clip(probability, LEAST, 1 - LEAST)
    odds: Floats = np.log(held) - np.log1p(-held)
    return odds
