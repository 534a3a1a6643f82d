"""Results of evaluation tasks and fine-tuned runs made up for tests, in the form in which the stages leave them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from forja.evaluation.bootstrap import intervals
from forja.evaluation.groups import by_group, mean
from forja.evaluation.scores import (
    binary_figures,
    calibration_bins,
    confusion,
    multiclass_figures,
    precision_recall_curve,
    regression_figures,
)
from forja.evaluation.task import Figure, TaskResult, write_result

ITEMS = 400
SOURCES = (
    "enron-spam/enron1",
    "enron-spam/enron2",
    "nazario",
    "an-archive-with-a-name-far-longer-than-a-phone-is-wide",
)


def figure(value: float, half: float = 0.02) -> Figure:
    return Figure(value, value - half, value + half)


def drawn(strength: float, seed: int, items: int = ITEMS) -> tuple[np.ndarray, np.ndarray]:
    """Labels, four in ten positive, and probabilities that tell them apart by so much."""
    choose = np.random.default_rng(seed)
    labels = (choose.random(items) < 0.4).astype(np.int64)
    return labels, 1 / (1 + np.exp(-(strength * (labels - 0.5) + choose.normal(size=items))))


@cache
def classified(
    *, better: float = 0.02, task: str = "classification", text: str = "Verify your account at [URL]", seed: int = 3
) -> TaskResult:
    """A classifier of two classes. better: by how much its F1 is above the baseline's, give or take 0.01."""
    labels, probability = drawn(3.6, seed)
    told = (probability >= 0.5).astype(np.int64)
    figures = binary_figures(labels, probability, 0.5, 0)
    f1 = figures["f1"].value
    names = [SOURCES[place % len(SOURCES)] for place in range(ITEMS)]
    below = {name: figure(one.value - better) for name, one in figures.items()}
    fair = {
        "demographic_parity_difference": figure(0.12),
        "equalized_odds_difference": figure(0.18),
    }
    after = {
        "demographic_parity_difference": figure(0.03),
        "equalized_odds_difference": figure(0.05),
        "f1": figure(f1 - 0.01),
    }
    groups = {"north": 0.41, "south": 0.29, "<b>east</b>": 0.35}
    details: dict[str, Any] = {
        "labels": ["0", "1"],
        "positive": "1",
        "confusion": confusion(labels, told, 2).tolist(),
        "threshold": 0.5,
        "threshold_from": "of the highest F1 on the validation examples",
        "unadapted": {"threshold": 0.31, "figures": {"f1": figure(0.642)}},
        "curves": {
            "precision_recall": precision_recall_curve(labels, probability),
            "calibration": calibration_bins(probability, labels == 1),
        },
        "groups": {
            "source": by_group(
                names, lambda own: {"f1": mean(labels[own] == told[own]), "recall": mean(labels[own] == told[own])}
            )
        },
        "removed": {"seen in training": 12, "twice": 0},
        "wrong": [
            {"text": text, "label": "1", "told": "0", "score": 0.04, "source": "nazario"},
            {"text": "Lunch at noon?", "label": "0", "told": "1", "score": 0.97, "source": ""},
        ],
        "notes": ["Fairness over language is not measured: language names 1."],
        "baseline": {
            "name": "TF-IDF with logistic regression",
            "figures": below,
            "threshold": 0.44,
            "threshold_from": "of the highest F1 on the validation examples",
            "beaten": True if better > 0.01 else False if better <= 0 else None,
            "difference": figure(better, 0.01),
        },
        "fairness": {
            "group": "region",
            "by_group": {
                name: {
                    "items": 90,
                    "selection_rate": rate,
                    "true_positive_rate": rate + 0.5,
                    "false_positive_rate": None if name == "south" else rate / 20,
                    "f1": 0.9,
                }
                for name, rate in groups.items()
            },
            **fair,
            "left_out": {"west": 4},
            "one_class": ["south"],
            "mitigated": {
                "threshold-optimizer": {"items": 200, **after, "before": {**fair, "f1": figure(f1)}},
                "reweighing": {"of": "the baseline", "items": 390, **after, "before": {**fair, "f1": figure(f1)}},
            },
        },
        "fairness_others": [
            {
                "group": "account_type",
                "by_group": {
                    name: {"items": 50, "selection_rate": rate, "true_positive_rate": 0.9, "false_positive_rate": 0.01}
                    for name, rate in {"private": 0.2, "business": 0.25}.items()
                },
                **fair,
                "left_out": {},
                "one_class": [],
                "mitigated": {},
            }
        ],
    }
    rows = [
        {"id": f"mail-{place}", "label": str(label), "told": str(one), "score": float(score), "source": name}
        for place, (label, one, score, name) in enumerate(zip(labels, told, probability, names, strict=True))
    ]
    return TaskResult(task, "classification", ITEMS, figures, details, rows)


@cache
def classified_of_many(classes: int, task: str = "classification") -> TaskResult:
    choose = np.random.default_rng(5)
    labels = choose.integers(classes, size=ITEMS)
    scores = choose.dirichlet(np.ones(classes), size=ITEMS) + 1.2 * np.eye(classes)[labels] * choose.random((ITEMS, 1))
    scores /= scores.sum(axis=1, keepdims=True)
    told = scores.argmax(axis=1)
    details = {
        "labels": [f"topic {place}" for place in range(classes)],
        "positive": None,
        "confusion": confusion(labels, told, classes).tolist(),
        "threshold": None,
        "threshold_from": "none: the likeliest label is told",
        "curves": {"precision_recall": [], "calibration": calibration_bins(scores.max(axis=1), told == labels)},
        "groups": {},
        "removed": {},
        "wrong": [],
        "notes": [],
    }
    return TaskResult(task, "classification", ITEMS, multiclass_figures(labels, scores, 0), details)


@cache
def answered(share: float = 0.31) -> TaskResult:
    """Multiple choice by set, as cyber-knowledge leaves it."""
    choose = np.random.default_rng(2)
    hits = {name: choose.random(ITEMS) < share for name in ("accuracy", "accuracy_letter")}
    sets = ["CyberMetric-500", "cti-mcq"] * (ITEMS // 2)
    groups = by_group(sets, lambda own: {name: mean(values[own]) for name, values in hits.items()})
    details = {
        "chance": 0.25,
        "groups": {"set": {name: {**figures, "chance": 0.25} for name, figures in groups.items()}},
        "several_right": 0,
        "shortened": 3,
        "removed": {"asked before": 2},
        "wrong": [{"text": "Which port?", "label": "443", "told": "8080", "source": "cti-mcq"}],
    }
    figures = intervals(ITEMS, {name: mean(values) for name, values in hits.items()})
    return TaskResult("cyber-knowledge", "multiple-choice", ITEMS, figures, details)


def biased() -> list[TaskResult]:
    """Pairs of sentences, and schemas with many occupations, of which the groups have no intervals."""
    kinds = ("race-color", "gender", "age")
    pairs = {
        "groups": {
            "bias_type": {
                kind: {"items": 60, "stereotype_share": figure(0.5 + 0.04 * at)} for at, kind in enumerate(kinds)
            }
        },
        "neutral": 0.5,
        "same_length": 120,
    }
    of_pairs = {"stereotype_share": figure(0.56), "stereotype_share_same_length": figure(0.54)}
    schemas = {
        "groups": {
            "refers_to": {
                one: {"items": 120, "female_over_male": figure(at - 0.4), "female_share": figure(0.4)}
                for at, one in enumerate(("occupation", "participant"))
            },
            "occupation": {
                f"occupation {number}": {"items": 2, "female_over_male": number / 50 - 0.5, "bls": 40.0}
                for number in range(70)
            },
        }
    }
    of_schemas = {"female_over_male": figure(-0.2), "female_share": figure(0.41), "correlation_bls": figure(0.44, 0.2)}
    return [
        TaskResult("bias-crows-pairs", "bias", 180, of_pairs, pairs),
        TaskResult("bias-winogender", "bias", 240, of_schemas, schemas),
    ]


def scanned(*, valid: bool = True) -> TaskResult:
    rates = {
        "syntax_valid_rate": figure(0.62 if valid else 0.0),
        "insecure_rate": figure(0.18) if valid else Figure(math.nan, math.nan, math.nan),
        "secure_valid_rate": figure(0.51 if valid else 0.0),
    }
    details = {
        "scanners": ["bandit"],
        "findings": {"B602": 5, "B608": 9} if valid else {},
        "groups": {"CWE": {f"CWE-{number}": {"items": 6, **rates} for number in (20, 78, 89)}},
        "removed": {"asks for another language": 30},
        "notes": ["insecure rate is of the completions that are valid Python."],
    }
    return TaskResult("secure-code", "code", 121, rates, details)


def alarmed() -> TaskResult:
    figures = {f"{unit}.{name}": figure(0.7) for unit in ("line", "session") for name in ("precision", "recall", "f1")}
    details = {"quantile": 0.99, "threshold": None, "thresholds": {"line": 4.21}, "notes": ["9 sessions of lines."]}
    return TaskResult("log-anomaly", "anomaly", 1_500, figures, details)


def read() -> TaskResult:
    of_source = {"perplexity": figure(41.2, 3), "bits_per_byte": figure(1.31)}
    details = {
        "groups": {"source": {name: {"items": 50, **of_source} for name in ("advisories", "manuals")}},
        "tokens": 90_000,
        "bytes": 320_000,
        "removed": {},
    }
    return TaskResult("language", "language", 100, of_source, details)


@cache
def scored() -> TaskResult:
    """A CVSS score told, of which answers without one leave it no number."""
    targets = np.linspace(0, 10, 60)
    figures = regression_figures(targets, targets + np.sin(targets), 0)
    return TaskResult("cyber-knowledge-vsp", "regression", 60, figures, {"groups": {}})


def glue() -> list[TaskResult]:
    """Two tasks beside the majority label, one of them above it, and all of them together."""
    results = []
    for name, metric, better in (("cola", "matthews", 0.0), ("sst2", "accuracy", 0.21)):
        figures, majority = {metric: figure(0.51 + better)}, {metric: figure(0.51)}
        baseline = {
            "name": "the majority label of the training rows",
            "figures": majority,
            "metric": metric,
            "difference": figure(better),
            "differences": {metric: figure(better)},
            "beaten": better > 0.02,
        }
        details = {"taught": {"by": "its training rows", "rows": 900, "of": 1000}, "removed": {}, "baseline": baseline}
        details |= {"labels": ["0", "1"], "positive": None, "confusion": [[40, 10], [9, 41]]}
        results.append(TaskResult(f"glue-{name}", "classification", 100, figures, details))
    whole = {
        f"{one.task.removeprefix('glue-')}.{name}": value for one in results for name, value in one.figures.items()
    }
    details = {"tasks": {}, "left_out": {"ax": "its labels are hidden"}}
    return [*results, TaskResult("glue", "classification", 200, whole, details)]


def unheard_of() -> TaskResult:
    return TaskResult("a-new-measure", "of-a-new-kind", 10, {"warmth": figure(0.3)}, {"groups": {}})


def every_kind() -> list[TaskResult]:
    pairs = [
        classified(),
        classified_of_many(5, "phishing-topics"),
        classified_of_many(12, "phishing-many"),
        answered(),
    ]
    return [*pairs, *biased(), scanned(), alarmed(), read(), scored(), *glue(), unheard_of()]


def write_results(run: Path, results: Sequence[TaskResult]) -> Path:
    for result in results:
        write_result(result, run / "evaluation")
    return run


def write_curve(run: Path) -> None:
    def point(examples: int, transfer: float, scratch: float) -> dict[str, Any]:
        both = {"transfer": transfer, "scratch": scratch}
        return {"examples": examples, **{name: vars(figure(value, 0.03)) for name, value in both.items()}}

    points = [point(50, 0.71, 0.42), point(200, 0.88, 0.63), point(800, 0.94, 0.86)]
    (run / "evaluation").mkdir(parents=True, exist_ok=True)
    (run / "evaluation" / "learning_curve.json").write_text(json.dumps({"metric": "f1", "points": points}))


def write_finetuned(run: Path, kind: str = "classification", **trained: Any) -> Path:
    """The folder of a fine-tuned run without model and evaluation; trained: figures of the training that differ."""
    examples = {
        "train": 3_094,
        "valid": 388,
        "test": 388,
        "labels": {"0": 3_385, "1": 485} if kind == "classification" else {},
        "sources": {"<i>messages</i>": 3_870},
        "removed": {"duplicate": 319},
    }
    figures = {
        "parameters": 5_311_744,
        "trained_parameters": 21_504,
        "steps": 60,
        "examples": 9_264,
        "seconds": 60.2,
        "validation_seconds": 6.2,
        "examples_per_second": 153.8,
        "peak_memory_bytes": 2_515_001_344,
        "best_step": 40,
        "valid_loss": 0.0767,
        "stopped_early": False,
        "rollbacks": 0,
        "measured": {"precision": {"gflops": {"fp32": 114.1, "bf16": 493.4}}},
        **trained,
    }
    _receipt(run, "examples", "examples", examples)
    _receipt(run, "training", "finetune", figures, {"threads": 2, "precision": "bf16"})
    _receipt(run, "model", "export", {"architecture": "Qwen3ForSequenceClassification", "standard": True})
    _receipt(run, "evaluation", "evaluate", {})
    lines: list[dict[str, Any]] = []
    for step in range(1, 61):
        loss, lr = 0.7 * math.exp(-step / 15), 5e-4 * (1 - step / 61)
        lines.append(
            {"step": step, "loss": loss, "lr": lr, "rates": {"adamw": lr}, "tokens_per_second": 5_000.0 + step}
        )
        if step % 20 == 0:
            lines.append({"step": step, "valid_loss": loss + 0.05})
    (run / "training" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "recipe.yaml").write_text(f"forja: 1\nname: {run.name}\nbase: bases/small\nfinetune:\n  kind: {kind}\n")
    return run


def _receipt(
    run: Path, folder: str, stage: str, figures: Mapping[str, Any], resolved: Mapping[str, Any] | None = None
) -> None:
    (run / folder).mkdir(parents=True, exist_ok=True)
    receipt = {"stage": stage, "figures": figures, "resolved": resolved or {}, "outputs": {}, "seconds": 12.5}
    receipt["finished"] = "2030-01-02T03:04:05Z"
    (run / folder / "receipt.json").write_text(json.dumps(receipt))
