"""What a run's artifacts tell, as plain data for the report. Nothing here is formatted or drawn.

What the corpus stage tells is in `corpus_findings.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forja.run import read_json
from forja.training.logbook import read_log

STAGES = ("corpus", "tokenizer", "tokens", "training", "model", "evaluation")
LAST_STEPS = 50
"""Training steps, at most, whose mean loss is set beside a validation; of a short run a twentieth."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Curves:
    """A log as points over steps. Losses in nats a token, rates a step, pace in tokens a second."""

    loss: list[Point]
    valid: list[Point]
    rates: dict[str, list[Point]]
    pace: list[Point]


@dataclass(frozen=True)
class Gap:
    """At a validation: its step, its loss, and the mean training loss of the steps before it, in nats.

    later_rise: by how much the last validation is above it.
    """

    step: int
    valid: float
    train: float
    later_rise: float = 0.0

    @property
    def nats(self) -> float:
        return self.valid - self.train


def receipts(run_folder: Path) -> dict[str, dict[str, Any]]:
    """The stages' receipts by folder, of those that are there."""
    found = {folder: read_json(run_folder / folder / "receipt.json") for folder in STAGES}
    return {folder: receipt for folder, receipt in found.items() if receipt is not None}


def curves(training_folder: Path) -> Curves:
    """The training log's lines as curves."""
    drawn = Curves([], [], {}, [])
    for line in read_log(training_folder / "log.jsonl"):
        step = float(line["step"])
        if line.get("valid_loss") is not None:
            drawn.valid.append((step, line["valid_loss"]))
        if line.get("loss") is not None:
            drawn.loss.append((step, line["loss"]))
        for name, rate in (line.get("rates") or {}).items():
            drawn.rates.setdefault(name, []).append((step, rate))
        if line.get("tokens_per_second"):
            drawn.pace.append((step, line["tokens_per_second"]))
    return drawn


def gap(drawn: Curves) -> Gap | None:
    """Training beside validation loss at the best validation; None where one of them was not recorded."""
    all_gaps = gaps(drawn)
    if not all_gaps:
        return None
    best = min(all_gaps, key=lambda one: one.valid)
    return replace(best, later_rise=all_gaps[-1].valid - best.valid)


def gaps(drawn: Curves) -> list[Gap]:
    """Training beside validation loss at every validation."""
    steps, found = [step for step, _ in drawn.loss], []
    for step, valid in drawn.valid:
        end = bisect_right(steps, step)
        before = drawn.loss[max(0, end - min(LAST_STEPS, max(1, end // 20))) : end]
        if before and math.isfinite(valid):
            found.append(Gap(int(step), valid, sum(loss for _, loss in before) / len(before)))
    return found


def objective(run_folder: Path) -> str:
    """What the model was trained for, by which it was measured."""
    measured = read_json(run_folder / "evaluation" / "perplexity.json") or {}
    return str(measured.get("objective", "next-token"))


def compression(tokens_folder: Path) -> dict[str, float]:
    """Bytes of text a token, end-of-text tokens left out, for each split that holds documents."""
    splits = (read_json(tokens_folder / "meta.json") or {}).get("splits", {})
    return {
        name: found["bytes"] / (found["tokens"] - found.get("erased", 0) - found["documents"] - 1)
        for name, found in splits.items()
        if found["tokens"] - found.get("erased", 0) - found["documents"] > 1
    }
