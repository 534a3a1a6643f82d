"""The report of a run that started from another's model: what it learned, from what, and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forja.evaluation import charts, findings, task_charts
from forja.evaluation.charts import Series
from forja.evaluation.machine import machine_description
from forja.evaluation.page import render_page
from forja.evaluation.task_pages import task_sections
from forja.evaluation.wording import choices, setbacks
from forja.run import read_json, write_json_atomic, write_text_atomic

KINDS = {
    "classification": "A classifier of {classes} classes",
    "chat": "A chat model",
    "continue": "A language model, pretrained further",
    "preference": "A chat model, taught preferences",
}
FOLDERS = ("examples", "training", "model", "evaluation")


@dataclass(frozen=True)
class FinetuneReportFigures:
    """What the report stage made."""

    tasks: int
    bytes: int


def finetune_report_stage(run_folder: Path, workspace: Path) -> FinetuneReportFigures:
    """Write report/tasks.json, metrics.json and report.html into the workspace. Raises ForjaError."""
    (workspace / "report").mkdir(exist_ok=True)
    sections = task_sections(run_folder)
    write_json_atomic(workspace / "report" / "tasks.json", [section.told.get("task") for section in sections])
    write_json_atomic(workspace / "metrics.json", finetune_metrics(run_folder))
    page = render_page("finetune_report.html.jinja", _content(run_folder, machine_description()))
    write_text_atomic(workspace / "report.html", page)
    return FinetuneReportFigures(tasks=len(sections), bytes=(workspace / "report.html").stat().st_size)


def finetune_metrics(run_folder: Path) -> dict[str, float]:
    """Every figure of the run, flat: examples.train, training.seconds, classification.f1."""
    metrics: dict[str, float] = {}
    for folder in FOLDERS[:3]:
        receipt = read_json(run_folder / folder / "receipt.json") or {"figures": {}}
        kept = {key: value for key, value in receipt["figures"].items() if key != "measured"}
        metrics.update(_flat(kept, folder))
    for path in sorted((run_folder / "evaluation").glob("*.json")):
        told = read_json(path)
        if "figures" in told and "task" in told:
            figures = {name: figure["value"] for name, figure in told["figures"].items()}
            metrics.update(_flat({**figures, "items": told["items"]}, told["task"]))
    return dict(sorted(metrics.items()))


def _flat(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _flat(member, f"{name}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, value


def _content(run_folder: Path, machine: Mapping[str, str]) -> dict[str, Any]:
    from forja.recipe_file import load_recipe

    recipe, _ = load_recipe(str(run_folder / "recipe.yaml"))
    kept = {folder: read_json(run_folder / folder / "receipt.json") or {"figures": {}} for folder in FOLDERS}
    examples, trained = kept["examples"]["figures"], kept["training"]["figures"]
    curve = read_json(run_folder / "evaluation" / "learning_curve.json")
    return {
        "name": run_folder.name,
        "what": KINDS[recipe.finetune.kind].format(classes=len(examples.get("labels", {}))),
        "base": recipe.base,
        "finished": kept["evaluation"].get("finished", ""),
        "examples": examples,
        "trained": trained,
        "standard": kept["model"]["figures"].get("standard", True),
        "architecture": kept["model"]["figures"].get("architecture", ""),
        "setbacks": setbacks(trained.get("rollbacks", 0)),
        "choices": choices(kept["training"].get("resolved", {}), trained.get("measured", {})),
        "stages": [(one["stage"], one.get("seconds", 0.0)) for one in kept.values() if "stage" in one],
        "tasks": task_sections(run_folder),
        "charts": _charts(run_folder, curve),
        "curve": curve,
        "machine": machine,
        "recipe": (run_folder / "recipe.yaml").read_text(encoding="utf-8"),
    }


def _charts(run_folder: Path, curve: Mapping[str, Any] | None) -> dict[str, Markup]:
    drawn = findings.curves(run_folder / "training")
    loss = [Series("training", drawn.loss), Series("validation", drawn.valid)]
    found = {"loss": Markup(charts.line_chart("Loss", loss, x_label="step", y_label="nats"))}
    if curve is not None:
        found["curve"] = task_charts.learning_curve_chart(curve)
    return found
