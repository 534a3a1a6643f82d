"""What a run's artifacts tell, as plain data for the report. Nothing here is formatted or drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from forja.run import read_json
from forja.training.logbook import read_log

STAGES = ("corpus", "tokenizer", "tokens", "training", "model", "evaluation")
LAST_STEPS = 50
"""Training steps whose mean loss is set beside a validation."""

Point = tuple[float, float]


@dataclass(frozen=True)
class SourceTotals:
    """One source: documents kept and their bytes, and documents rejected."""

    name: str
    documents: int
    bytes: int
    rejected: int


@dataclass(frozen=True)
class Curves:
    """A log as points over steps. Losses in nats a token, rates a step, pace in tokens a second."""

    loss: list[Point]
    valid: list[Point]
    rates: dict[str, list[Point]]
    pace: list[Point]


@dataclass(frozen=True)
class Gap:
    """At the best validation: its step, its loss, and the mean training loss of the steps before it, in nats."""

    step: int
    valid: float
    train: float


def receipts(run_folder: Path) -> dict[str, dict[str, Any]]:
    """The stages' receipts by folder, of those that are there."""
    found = {folder: read_json(run_folder / folder / "receipt.json") for folder in STAGES}
    return {folder: receipt for folder, receipt in found.items() if receipt is not None}


def source_totals(corpus_folder: Path) -> list[SourceTotals]:
    """What each source gave, the largest first."""
    kept: dict[str, list[int]] = {}
    for path in sorted(corpus_folder.glob("documents-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=4096, columns=["source", "text"]):
            sizes = pc.binary_length(batch["text"])
            for name, size in zip(batch["source"].to_pylist(), sizes.to_pylist(), strict=True):
                totals = kept.setdefault(name, [0, 0])
                totals[0] += 1
                totals[1] += size or 0
    rejected = _counts(corpus_folder, "source")
    names = {**kept, **{name: [0, 0] for name in rejected if name not in kept}}
    rows = [SourceTotals(name, count, size, rejected.get(name, 0)) for name, (count, size) in names.items()]
    return sorted(rows, key=lambda row: (-row.bytes, row.name))


def rejections(corpus_folder: Path) -> list[tuple[str, int]]:
    """Why documents were rejected, and how many, the most frequent first."""
    return sorted(_counts(corpus_folder, "reason").items(), key=lambda item: (-item[1], item[0]))


def _counts(corpus_folder: Path, column: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path in sorted(corpus_folder.glob("rejected-*.parquet")):
        schema = pq.read_schema(path)
        if column not in schema.names:
            continue
        for entry in pc.value_counts(pq.read_table(path, columns=[column])[column]).to_pylist():
            name = str(entry["values"])
            counts[name] = counts.get(name, 0) + entry["counts"]
    return counts


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
    finite = [(loss, step) for step, loss in drawn.valid if math.isfinite(loss)]
    if not finite:
        return None
    valid, step = min(finite)
    before = [loss for at, loss in drawn.loss if at <= step][-LAST_STEPS:]
    return Gap(int(step), valid, sum(before) / len(before)) if before else None


def compression(tokens_folder: Path) -> dict[str, float]:
    """Bytes of text a token, end-of-text tokens left out, for each split that holds documents."""
    splits = (read_json(tokens_folder / "meta.json") or {}).get("splits", {})
    return {
        name: found["bytes"] / (found["tokens"] - found["documents"] - 1)
        for name, found in splits.items()
        if found["tokens"] - found["documents"] > 1
    }
