"""The divergence guard: what is done when the loss stops being a number or leaps, and the memory of it.

Remedies are durable before they are applied, and hold from a step on, so that a run killed and resumed
computes what it would have.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from forja.run import read_json, write_json_atomic

WINDOW = 50
"""Steps whose median loss a step's is compared with."""
ENOUGH = 20
"""Steps before which no loss counts as a leap."""
Action = Literal["lower-rate", "skip", "stop"]


@dataclass(frozen=True)
class Remedy:
    """At step `at` (from 1) the loss diverged, for the reason `why`; training went back to the checkpoint of `back_to`,
    and from there on the rate is half, or the batches of steps `skip_from` to `at` are left out."""

    at: int
    back_to: int
    why: str
    action: Action
    skip_from: int | None = None

    def sentence(self) -> str:
        skipped = self.at - (self.skip_from or self.at) + 1
        what = f"without the {'last batch' if skipped == 1 else f'last {skipped} batches'}"
        done = "with half the rate" if self.action == "lower-rate" else what
        return f"{self.why} at step {self.at:,}: going back to step {self.back_to:,}, and on {done}"


class Guard:
    """Judges losses, and knows the remedies so far. `spike`: nats above the median that are a leap, 0: none is."""

    def __init__(self, path: Path, *, action: Action = "lower-rate", spike: float = 2.0, rollbacks: int = 3) -> None:
        self.action, self.spike, self.rollbacks = action, spike, rollbacks
        self.remedies = [Remedy(**kept) for kept in read_json(path) or []]
        self._path = path
        self._losses: deque[float] = deque(maxlen=WINDOW)

    def start_from(self, losses: Iterable[float]) -> None:
        """Take these as the losses of the steps before the next."""
        self._losses = deque(losses, maxlen=WINDOW)

    def factor(self, step: int) -> float:
        """How much of the scheduled rate the update at `step` (from 0) has."""
        lowered = [kept for kept in self.remedies if kept.action == "lower-rate" and kept.back_to <= step]
        return float(0.5 ** len(lowered))

    def skips(self, step: int) -> bool:
        """Whether the batch at `step` (from 0) is left out."""
        return any(kept.skip_from is not None and kept.skip_from <= step + 1 <= kept.at for kept in self.remedies)

    def judge(self, loss: float, norm: float) -> str | None:
        """Why training cannot go on from this step; None where it can."""
        if not math.isfinite(loss):
            return f"the loss became {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm became {norm}"
        if self.spike and len(self._losses) >= ENOUGH:
            usual = statistics.median(self._losses)
            if loss > usual + self.spike:
                return f"the loss leapt from about {usual:.2f} to {loss:.2f}"
        self._losses.append(loss)
        return None

    def remedy(self, at: int, back_to: int | None, why: str, *, durable: bool) -> Remedy | None:
        """What is to be done about step `at`, kept for good (by one process: durable); None: training is to stop."""
        if self.action == "stop" or back_to is None or len(self.remedies) >= self.rollbacks:
            return None
        wide = 2 ** sum(kept.back_to == back_to for kept in self.remedies)
        skip_from = max(back_to + 1, at - wide + 1) if self.action == "skip" else None
        found = Remedy(at, back_to, why, self.action, skip_from)
        self.remedies.append(found)
        if durable:
            write_json_atomic(self._path, [asdict(kept) for kept in self.remedies])
        return found
