"""Figures of parts of a set: by source, by kind of bias, by whatever a task's items are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.evaluation.bootstrap import Metric, intervals

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


def mean(values: npt.ArrayLike) -> Metric:
    """The mean of the values at the places drawn; not a number of none."""
    array = np.asarray(values, dtype=np.float64)
    return lambda places: float(array[places].mean()) if len(places) else float("nan")


def by_group(keys: Sequence[str], metrics_of: Callable[[Places], Mapping[str, Metric]]) -> dict[str, dict[str, Any]]:
    """Of each name among the keys, (items,), in their order: `items`, and figures with intervals over its own items.

    metrics_of: from the places of some items to metrics of places among those. An empty key is of no group.
    """
    groups = {}
    for key in sorted(set(keys) - {""}):
        own = np.flatnonzero(np.array(keys) == key)
        groups[key] = {"items": len(own), **intervals(len(own), metrics_of(own))}
    return groups
