"""Where a classifier's threshold comes from: validation data, and the unlabelled scores of a new collection.

A classifier that ranks a new collection well may still tell it badly at the old threshold: there are more or fewer
positives there than in training, and its scores lie elsewhere. All here are pure functions of probabilities of the
positive class and of labels of 0 and 1, (items,) each; what is at a threshold or above is told positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError

FEWEST = 30
"""Scores below which a collection, or the validation data, tells nothing of its distribution."""
LEAST = 1e-7
"""Probabilities are held this far from 0 and 1, that they have a logit."""
RAREST = 0.01
"""Share that the rarer class of a collection is taken to have, at least."""
WIDTH = 0.2
"""Of the kernel under which validation scores become densities, in standard deviations of all of them."""
MOVED = 0.05
"""Nats a score by which two heaps must explain a collection better than validation's classes."""
STANDS_APART = 2.5
"""Standard deviations between two heaps from which there is a valley: more than the 2 of Ashman, Bird and Zepf (1994),
as a collection almost without positives falls into two heaps of negatives."""
GRID = np.linspace(-17, 17, 681)
ROUNDS = 300

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

    Where its scores look like a mixture of validation's two classes, only their shares are taken to be others; where
    two normal heaps explain them better, by more than MOVED, and the heaps stand apart, the scores themselves have
    moved, and the threshold lies in the valley between. Where there is too little to go by, it is validation's
    threshold of the highest F1.
    """
    probability, labels = validation
    if not labels.any():
        return 0.5, "0.5, as no validation label is positive"
    if len(probability_of_new) < FEWEST or len(labels) < FEWEST or labels.all():
        few = "the collection" if len(probability_of_new) < FEWEST else "the validation data"
        sentence = f"of the highest F1 on the validation data, as {few} is too small to adapt it"
        return best_f1_threshold(labels, probability), sentence
    new = logits(probability_of_new)
    mixed, heaps = mixture_of_classes(new, logits(probability), labels), two_heaps(new)
    moved = heaps.apart > STANDS_APART and heaps.likelihood - mixed.likelihood > MOVED
    threshold = 1 / (1 + np.exp(-(heaps if moved else mixed).threshold))
    why = (
        "its scores lie elsewhere than validation's, in two heaps"
        if moved
        else "its scores are a mixture of validation's classes, in other shares"
    )
    share = float((probability_of_new >= threshold).mean())
    return threshold, f"adapted to this collection without its labels: {why}; {share:.0%} are told positive"


@dataclass(frozen=True)
class Fitted:
    """A way to see a collection's scores. threshold: in logits; likelihood: nats a score; apart: Ashman's D, the
    distance of the two means in standard deviations (Ashman, Bird and Zepf 1994, equation 4)."""

    threshold: float
    likelihood: float
    apart: float = 0.0


def logits(probability: Floats) -> Floats:
    """Log odds, those of certain items held finite."""
    held = np.clip(probability, LEAST, 1 - LEAST)
    odds: Floats = np.log(held) - np.log1p(-held)
    return odds


def mixture_of_classes(new: Floats, known: Floats, labels: Ints) -> Fitted:
    """Each class's scores lie as validation's do, smoothed; the share of positives is the likeliest, by EM, and the
    threshold that of the fewest expected errors. new, known: logits."""
    width = max(WIDTH * float(known.std()), GRID[1] - GRID[0])
    negatives, positives = (_density(known[labels == label], width) for label in (0, 1))
    cells = np.clip(np.searchsorted(GRID, new) - 1, 0, len(GRID) - 2)
    share = shifted_prior(positives[cells] / (positives[cells] + negatives[cells]), 0.5)
    errors = share * np.cumsum(positives) + (1 - share) * (1 - np.cumsum(negatives))
    mixed = share * positives[cells] + (1 - share) * negatives[cells]
    return Fitted(float(GRID[1:][errors.argmin()]), float(np.log(mixed / (GRID[1] - GRID[0])).mean()))


def _density(scores: Floats, width: float) -> Floats:
    """Share of scores in each cell of GRID under a normal kernel, and a little everywhere."""
    counts = np.histogram(np.clip(scores, GRID[0], GRID[-1]), bins=GRID)[0]
    middles = (GRID[1:] + GRID[:-1]) / 2
    smooth = np.exp(-0.5 * ((middles[:, None] - middles[None, :]) / width) ** 2) @ counts
    raised = smooth / smooth.sum() + 1e-5
    density: Floats = raised / raised.sum()
    return density


def two_heaps(new: Floats) -> Fitted:
    """Two normal components of any widths, by EM; the threshold is where the higher one becomes the likelier. new:
    logits."""
    from sklearn.mixture import GaussianMixture

    if np.ptp(new) == 0:
        return Fitted(float(new[0]), -np.inf)
    fitted = GaussianMixture(2, random_state=0, n_init=2).fit(new[:, None])
    means, variances = fitted.means_[:, 0], fitted.covariances_[:, 0, 0]
    between = np.linspace(means.min(), means.max(), 2001)
    likelier = fitted.predict_proba(between[:, None])[:, int(means.argmax())] >= 0.5
    threshold = float(between[int(likelier.argmax())]) if likelier.any() else float(means.max())
    apart = float(np.sqrt(2) * np.ptp(means) / np.sqrt(variances.sum()))
    return Fitted(threshold, float(fitted.score(new[:, None])), apart)
