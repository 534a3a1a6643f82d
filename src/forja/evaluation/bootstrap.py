"""How sure a figure is: 95% intervals by the percentile bootstrap over items (Efron 1979; Efron and Tibshirani 1993,
chapter 13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from forja.evaluation.task import Figure

RESAMPLES = 1000
MOST_DRAWN = 20_000_000
"""Items drawn in all, at most: of large sets fewer resamples are taken, whose intervals are narrow anyway."""
FEWEST_RESAMPLES = 100

Metric = Callable[[npt.NDArray[np.int64]], float]
"""From the places of the items that are drawn, (items,), to a figure of those."""


def intervals(items: int, metrics: Mapping[str, Metric], *, seed: int = 0) -> dict[str, Figure]:
    """Each metric of all items with its 95% interval; the metrics share their resamples.

    A resample of which a metric is not a number (one class only) counts for nothing in that metric.
    """
    everything = np.arange(items)
    draws = list(resamples(items, seed=seed))
    figures = {}
    for name, metric in metrics.items():
        drawn = np.array([metric(places) for places in draws])
        drawn = drawn[np.isfinite(drawn)]
        value = float(metric(everything))
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist() if len(drawn) else (value, value)
        figures[name] = Figure(value, low, high)
    return figures


def resamples(items: int, *, seed: int = 0) -> list[npt.NDArray[np.int64]]:
    """Places of the items of each resample, (items,) each; the same for the same seed and number of items."""
    count = int(max(FEWEST_RESAMPLES, min(RESAMPLES, MOST_DRAWN // max(items, 1))))
    source = np.random.default_rng(seed)
    return [source.integers(0, items, items) for _ in range(count)] if items else []
