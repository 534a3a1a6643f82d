"""`forja evaluate` and `forja report`: measure a run on anything, and read what came of it. Thin, as `cli.py` is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from forja.errors import ForjaError
from forja.options import JsonOption, QuietOption, RunArgument, print_json, show
from forja.progress import say, set_quiet
from forja.recipe_file import load_recipe
from forja.run import Run, find_run, read_json

Tasks = Annotated[
    list[str] | None, typer.Option("--task", "--tasks", metavar="NAME", help="A task; repeatable, or with commas.")
]
Data = Annotated[list[Path] | None, typer.Option("--data", metavar="FILE", help="What the tasks read; repeatable.")]


def evaluate_command(
    run: RunArgument,
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="More files for --text.")] = None,
    task: Tasks = None,
    data: Data = None,
    text: Annotated[list[Path] | None, typer.Option("--text", help="Measure on this text file; repeatable.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a run: on its held-out part, on labelled files, on any text, or by a task.

    Example: forja evaluate triage --data other.csv --json
    """
    set_quiet(quiet or as_json)
    folder = find_run(run)
    if files and not text:
        raise typer.BadParameter(f"unexpected argument {files[0]}; text files are given with --text FILE")
    if text:
        from forja.evaluation.perplexity import evaluate_text
        from forja.models.hub import load_run_model

        model, tokenizer = load_run_model(folder)
        result = evaluate_text(model, tokenizer, [*text, *(files or [])])
    elif task or data:
        names = [name for given in task or [_fitting_task(folder)] for name in given.split(",")]
        result = _tasks(folder, names, data or [])
    else:
        result = _rerun(folder, "evaluate")
    show(result, as_json)


def _fitting_task(folder: Path) -> str:
    """What labelled files, or text, are to the run's model."""
    from forja.models.tuned import is_classifier

    return "classification" if is_classifier(read_json(folder / "model" / "config.json") or {}) else "language"


def _tasks(folder: Path, names: list[str], data: list[Path]) -> dict[str, Any]:
    """Each task's figures; of one task alone without its name before them."""
    from forja.evaluation.task import write_result
    from forja.evaluation.tasks.registry import evaluate_task
    from forja.finetuning import subject_of

    recipe, _ = load_recipe(str(folder / "recipe.yaml"))
    subject = subject_of(folder, recipe.seed)
    told = {}
    for name in names:
        for result in evaluate_task(name, subject, data):
            if result.kind == "classification" and result.task == "classification":
                # The stage's own result has that name; a file's is told apart by the file's.
                result = replace(result, task=f"{name}-{'-'.join(path.name.split('.')[0] for path in data)}"[:100])
            with Run(folder).locked():
                write_result(result, folder / "evaluation")
            told[result.task] = _flat(result)
    if (folder / "report" / "receipt.json").is_file():
        _rerun(folder, "report")
        say(f"Report: {folder / 'report.html'}")
    return next(iter(told.values())) if len(told) == 1 else told


def _flat(result: Any) -> dict[str, Any]:
    """Figures by name, then their intervals."""
    from forja.evaluation.task import as_json

    whole = as_json(result)
    intervals = {name: [figure["low"], figure["high"]] for name, figure in whole["figures"].items()}
    figures = {name: figure["value"] for name, figure in whole["figures"].items()}
    keep = ("threshold", "threshold_from", "removed", "chance", "positive")
    details = {name: whole["details"][name] for name in keep if whole["details"].get(name) is not None}
    return {"task": result.task, "items": result.items, **figures, **details, "intervals": intervals}


def report_command(
    run: RunArgument,
    other: Annotated[
        str | None, typer.Argument(metavar="[RUN_B]", help="Another run: which differences are real.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write report.html and metrics.json of a run anew, or compare two runs.

    Example: forja report triage triage-lora
    """
    set_quiet(quiet or as_json)
    folder = find_run(run)
    if other is not None:
        _compare(folder, find_run(other), as_json)
        return
    _rerun(folder, "report")
    if as_json:
        print_json({"run": str(folder), "metrics": read_json(folder / "metrics.json")})
    else:
        print(folder / "report.html")


def _compare(one: Path, other: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from forja.evaluation.compare import compare
    from forja.evaluation.comparison_report import comparison_report

    rows = compare(one, other)
    if not rows:
        raise ForjaError(
            "the two runs have no figure in common.",
            where=f"{one.name} and {other.name}",
            fix="Give both the same task: forja evaluate RUN --task NAME --data FILE",
        )
    page = comparison_report(one, other, one / f"comparison-{other.name}.html")
    if as_json:
        print_json({"runs": [str(one), str(other)], "report": str(page), "figures": [asdict(row) for row in rows]})
        return
    for row in rows:
        print(row.sentence)
    print(f"Report: {page}")


def _rerun(folder: Path, stage: str) -> dict[str, Any]:
    from forja.pipeline import run_one_stage

    recipe, base = load_recipe(str(folder / "recipe.yaml"))
    return run_one_stage(Run(folder), recipe, base, stage).figures
