"""`forja finetune` and `forja classify`: a trained model taught by examples, and its verdicts. Thin, as `cli.py` is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from forja.errors import ForjaError
from forja.options import JsonOption, NameOption, Overrides, QuietOption, RunArgument, print_json
from forja.progress import set_quiet
from forja.recipe_file import load_recipe
from forja.run import Run, find_run, read_json, runs_folder
from forja.training.processes import rank

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="`classify`, `chat`, `continue`, or a YAML file with a base.")
]


def finetune_command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", metavar="FILE", help="A file of examples; repeatable.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="A run, a Hugging Face folder, or a hub name.")
    ] = None,
    name: NameOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Teach a trained model by examples: to classify, to chat, to continue other text, or to prefer answers.

    Example: forja finetune classify --data mails.csv --base runs/demo --name triage
    """
    from forja.pipeline import run_stages

    set_quiet(quiet or as_json or rank() > 0)
    loaded, folder = load_recipe(recipe, overrides or (), name=name, base=base, data=data or ())
    if loaded.base is None:
        raise ForjaError(
            "this recipe trains from raw text and starts from no model.",
            where=recipe,
            fix=f"Name one: --base RUN, or train with: forja run {recipe}",
        )
    run = Run(runs_folder() / loaded.name)
    results = run_stages(run, loaded, folder)
    if rank() > 0:  # the first process tells
        return
    metrics = read_json(run.folder / "metrics.json") or {}
    if as_json:
        stages = [{"stage": r.stage, "status": r.status, "seconds": r.seconds} for r in results]
        print_json({"run": str(run.folder), "stages": stages, "metrics": metrics})
    elif all(result.status == "up to date" for result in results):
        print(f"Nothing to do: {run.folder} is up to date.")
    else:
        _print_ending(run, loaded.finetune.kind)


def _print_ending(run: Run, kind: str) -> None:
    told: dict[str, Any] = {}
    for path in sorted((run.folder / "evaluation").glob("*.json")):
        whole = read_json(path)
        if "task" in whole:
            told = whole
    print()
    for name in ("f1", "accuracy", "precision", "recall", "auroc", "perplexity", "preferred"):
        figure = told.get("figures", {}).get(name)
        if figure is not None and figure["value"] is not None:
            print(f"{name:10} {figure['value']:.4f}  (95%: {figure['low']:.4f} to {figure['high']:.4f})")
    if told:
        print(f"on {told['items']:,} examples that it was not shown.")
    baseline = told.get("details", {}).get("baseline")
    if baseline:
        beaten = {True: "beaten", False: "NOT beaten", None: "neither beaten nor better beyond chance"}
        figure = baseline["figures"]["f1"]
        print(f"{baseline['name']}: F1 {figure['value']:.4f}, {beaten[baseline['beaten']]}.")
    print(f"Report: {run.folder / 'report.html'}")
    print("\nTry next:")
    if kind == "classification":
        print(f"  forja classify {run.name} {shlex.quote('a text')}")
        print(f"  forja evaluate {run.name} --data OTHER.csv")
    else:
        print(
            f"  forja {'generate' if kind == 'continue' else 'chat'} {run.name}{' The' if kind == 'continue' else ''}"
        )


def classify_command(
    run: RunArgument,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT|FILE]", help="A text, or a file of them, a line each; else stdin.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell the class of a text, of each line of a file, or of each line of standard input.

    Example: forja classify triage "Your account is locked: verify it now"
    """
    folder = find_run(run)
    set_quiet(True)
    from forja.evaluation.classifier import load_run_classifier

    classifier = load_run_classifier(folder)
    texts = _texts(text)
    verdicts = classifier.verdicts(texts)
    if as_json:
        print_json(verdicts)
        return
    for verdict in verdicts:
        print(f"{verdict['label']}\t{verdict['score']:.4f}\t{verdict['text'][:200]}")


def _texts(given: str | None) -> list[str]:
    """The texts to tell. Raises ForjaError where there are none."""
    if given is not None and not _is_file(given):
        return [given]
    if given is None and sys.stdin.isatty():
        raise ForjaError("there is no text.", fix="Give one, a file, or lines on standard input.")
    try:
        whole = sys.stdin.read() if given is None else Path(given).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ForjaError("this is not UTF-8 text.", where=given or "standard input") from None
    texts = [line for line in whole.splitlines() if line.strip()]
    if not texts:
        raise ForjaError("there is no text in it.", where=given or "standard input")
    return texts


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # too long for a name
        return False
