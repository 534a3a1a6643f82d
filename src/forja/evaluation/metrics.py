"""`metrics.json`: every figure of a run, flat, under names that other tools may rely on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forja.errors import ForjaError
from forja.evaluation import findings
from forja.evaluation.task_pages import tasks_of
from forja.run import read_json
from forja.training.logbook import log_totals

STAGE_FOLDERS = ("corpus", "tokenizer", "tokens", "training", "model")
"""Folders whose receipts' figures are taken over as they are, under the folder's name."""

PROMISED = (
    "perplexity.valid",
    "perplexity.test",
    "bits_per_byte.test",
    "perplexity.unigram.test",
    "perplexity.bigram.test",
    "training.tokens",
    "training.tokens_per_second",
    "training.seconds",
    "training.peak_memory_bytes",
    "training.parameters",
    "corpus.documents.kept",
    "corpus.bytes.kept",
    "tokenizer.bytes_per_token",
)
"""Names that every finished run of a decoder has."""
WITHOUT = {
    "masked": ("bits_per_byte.test", "perplexity.bigram.test"),
    "span-corruption": ("bits_per_byte.test", "perplexity.bigram.test"),
    "prefix": ("bits_per_byte.test",),
}
"""Of those, by objective, the ones that a run cannot have."""


def collect_metrics(run_folder: Path) -> dict[str, float]:
    """The run's figures by name: counts, bytes, seconds, nats; perplexity a token. Raises ForjaError.

    Names of lists' members and of files are left out, so that the names are the same for every run but
    for those of its sources.
    """
    metrics: dict[str, float] = {}
    for folder in STAGE_FOLDERS:
        receipt = read_json(run_folder / folder / "receipt.json")
        if receipt is not None:
            # How an `auto` was measured is in the receipt and the report; it is not a figure of the run.
            figures = {key: value for key, value in receipt["figures"].items() if key != "measured"}
            metrics.update(flat(figures, folder))
            if "seconds" in receipt:
                metrics[f"stage.{receipt['stage']}.seconds"] = receipt["seconds"]
    metrics.update(_training(run_folder, metrics))
    metrics.update(_perplexity(run_folder))
    metrics.update(task_metrics(run_folder))
    cannot = WITHOUT.get(findings.objective(run_folder), ())
    missing = [name for name in PROMISED if name not in metrics and name not in cannot]
    if missing:
        raise ForjaError(
            f"the run's figures lack {', '.join(missing)}.",
            where=str(run_folder),
            fix="Delete the folder of the stage that should have measured it, and run again.",
        )
    return dict(sorted(metrics.items()))


def task_metrics(run_folder: Path) -> dict[str, float]:
    """The figures of each evaluation task that the run holds: cyber-knowledge.accuracy."""
    metrics: dict[str, float] = {}
    for told in tasks_of(run_folder):
        figures = {name: figure["value"] for name, figure in told["figures"].items()}
        metrics.update(flat({**figures, "items": told["items"]}, told["task"]))
    return metrics


def _training(run_folder: Path, known: Mapping[str, float]) -> dict[str, float]:
    """What the log tells and the receipt does not: training.gap is validation less training loss, nats a token."""
    totals = log_totals(run_folder / "training" / "log.jsonl")
    told: dict[str, float] = {
        "training.steps": totals.steps,
        "training.tokens": totals.tokens,
        "training.tokens_per_second": totals.tokens_per_second,
        "training.seconds": totals.seconds,
        "training.peak_memory_bytes": totals.peak_memory_bytes,
    }
    if (gap := findings.gap(findings.curves(run_folder / "training"))) is not None:
        told["training.gap"] = gap.nats
    return {name: value for name, value in told.items() if name not in known}


def _perplexity(run_folder: Path) -> dict[str, float]:
    measured = read_json(run_folder / "evaluation" / "perplexity.json") or {}
    metrics: dict[str, float | None] = {}
    for split, figures in measured.items():
        if split == "objective":
            continue
        metrics[f"perplexity.{split}"] = figures["perplexity"]
        metrics[f"bits_per_byte.{split}"] = figures["bits_per_byte"]
        metrics[f"perplexity.unigram.{split}"] = figures["unigram"]
        metrics[f"perplexity.bigram.{split}"] = figures["bigram"]
        metrics[f"evaluation.{split}.tokens"] = figures["tokens"]
        metrics[f"evaluation.{split}.documents"] = figures["documents"]
    return {name: value for name, value in metrics.items() if value is not None}


def flat(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Finite numbers in nested mappings, as (dotted name, number)."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from flat(member, f"{name}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, value
