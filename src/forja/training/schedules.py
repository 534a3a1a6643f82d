"""Learning rate over a run, as pure functions of the step: a resumed run computes what it would have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[int], float]
"""From a step (0 for the first update) to a factor of the peak rate."""


def schedule(
    kind: Literal["cosine", "wsd", "constant"],
    steps: int,
    *,
    warmup: float = 0.0,
    decay: float = 0.4,
    floor: float = 0.1,
) -> Schedule:
    """Linear warm-up, then cosine decay, a stable stretch and linear decay (wsd), or nothing.

    warmup: steps, or below 1 a fraction of all; decay: wsd's last stretch, steps, or up to 1 a fraction;
    floor: the factor at the last step. The first step already has a rate above zero.
    """
    warm = round(warmup * steps) if warmup < 1 else min(round(warmup), steps)
    fall = round(decay * steps) if decay <= 1 else round(decay)
    fall = max(1, min(fall, steps - warm))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if kind == "constant":
            return 1.0
        length = steps - warm if kind == "cosine" else fall
        past = step + 1 - (steps - length)
        progress = min(1.0, max(0.0, past / max(1, length)))
        left = (1 + math.cos(math.pi * progress)) / 2 if kind == "cosine" else 1 - progress
        return floor + (1 - floor) * left

    return factor
