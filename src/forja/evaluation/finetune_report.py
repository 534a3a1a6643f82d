"""The report of a run that started from a trained model: what it learned, from what, and what that is worth.

Its tasks are told in `task_pages.py`; the page is `finetune_report.html.jinja`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.evaluation import findings
from forja.evaluation.curve_charts import curve_charts
from forja.evaluation.machine import machine_description
from forja.evaluation.metrics import flat, task_metrics
from forja.evaluation.page import render_page
from forja.evaluation.task_charts import learning_curve_chart
from forja.evaluation.task_pages import task_sections, tasks_of
from forja.evaluation.task_wording import transfer_sentence
from forja.evaluation.wording import choices, setbacks
from forja.run import read_json, write_json_atomic, write_text_atomic

KINDS = {
    "classification": "A classifier of {classes} classes",
    "chat": "A chat model",
    "continue": "A language model, pretrained further",
    "preference": "A chat model, taught preferences",
}
OWN = {"classification": "classification", "preference": "preference"}
"""The task that the run's own test examples are, by kind; of the others it is `held-out`."""
FOLDERS = ("examples", "training", "model", "evaluation")


@dataclass(frozen=True)
class FinetuneReportFigures:
    """What the report stage made."""

    tasks: int
    bytes: int


def finetune_report_stage(run_folder: Path, workspace: Path) -> FinetuneReportFigures:
    """Write report/tasks.json, metrics.json and report.html into the workspace. Raises ForjaError."""
    (workspace / "report").mkdir(exist_ok=True)
    tasks = [told["task"] for told in tasks_of(run_folder)]
    write_json_atomic(workspace / "report" / "tasks.json", tasks)
    write_json_atomic(workspace / "metrics.json", finetune_metrics(run_folder))
    page = render_finetune_report(run_folder, machine_description())
    write_text_atomic(workspace / "report.html", page)
    return FinetuneReportFigures(tasks=len(tasks), bytes=len(page.encode()))


def finetune_metrics(run_folder: Path) -> dict[str, float]:
    """Every figure of the run, flat: examples.train, training.seconds, classification.f1. Raises ForjaError."""
    metrics: dict[str, float] = {}
    for folder, receipt in _receipts(run_folder).items():
        if folder != "evaluation":  # the tasks' own files tell more
            metrics.update(flat({key: one for key, one in receipt["figures"].items() if key != "measured"}, folder))
    metrics.update(task_metrics(run_folder))
    return dict(sorted(metrics.items()))


def render_finetune_report(run_folder: Path, machine: Mapping[str, str]) -> str:
    """The report's HTML. Raises ForjaError for a folder whose recipe cannot be read."""
    return render_page("finetune_report.html.jinja", _content(run_folder, machine))


def _receipts(run_folder: Path) -> dict[str, dict[str, Any]]:
    return {folder: read_json(run_folder / folder / "receipt.json") or {"figures": {}} for folder in FOLDERS}


def _content(run_folder: Path, machine: Mapping[str, str]) -> dict[str, Any]:
    from forja.recipe_file import load_recipe

    recipe, _ = load_recipe(str(run_folder / "recipe.yaml"))
    kind, kept = recipe.finetune.kind, _receipts(run_folder)
    examples, trained = kept["examples"]["figures"], kept["training"]["figures"]
    curve = read_json(run_folder / "evaluation" / "learning_curve.json")
    curve = curve if curve and curve["points"] else None
    own = OWN.get(kind, "held-out")
    sections = task_sections(run_folder, first=own)
    unit = "nats an example" if kind in OWN else "nats a token"
    return {
        "name": run_folder.name,
        "what": KINDS[kind].format(classes=len(examples.get("labels", {}))),
        "base": str(recipe.base),
        "scratch": recipe.finetune.from_scratch,
        "finished": kept["evaluation"].get("finished", ""),
        "examples": examples,
        "trained": trained,
        "unit": unit,
        "standard": kept["model"]["figures"].get("standard", True),
        "architecture": kept["model"]["figures"].get("architecture", ""),
        "setbacks": setbacks(trained.get("rollbacks", 0)),
        "choices": choices(kept["training"].get("resolved", {}), trained.get("measured", {})),
        "stages": [(one["stage"], one.get("seconds", 0.0)) for one in kept.values() if "stage" in one],
        "tasks": sections,
        "own": [section for section in sections if section.anchor == f"task-{own}"],
        "charts": curve_charts(findings.curves(run_folder / "training"), unit=unit),
        "curve": curve,
        "curve_chart": learning_curve_chart(curve) if curve else "",
        "transfer": transfer_sentence(curve) if curve else "",
        "machine": machine,
        "recipe": (run_folder / "recipe.yaml").read_text(encoding="utf-8"),
    }
