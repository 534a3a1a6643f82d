"""The ordered stages of a run: which are up to date, why one is not, and doing the rest.

A stage is up to date when the fingerprint of its inputs, recipe sections, source files and
library versions is the one in its receipt and its outputs are there. Nothing else is state.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from forja import finetuning, pretraining
from forja.errors import ForjaError
from forja.progress import duration, say
from forja.recipe import Recipe
from forja.recipe_file import dump_recipe
from forja.run import Run, digest, output_digests, runs_folder, write_json_atomic, write_text_atomic
from forja.stage import Job, Stage
from forja.training.processes import Company, rank

PACKAGE = Path(__file__).parent
ONLOOKERS = ("corpus/lineage.py", "tokens/erase.py", "training/exposure.py", "training/tracking.py")
"""Files of the rooms that look at what stages left, and decide none of a stage's bytes."""
ERASING = ".erasing.json"
"""In a run's folder while documents are taken out of it."""


@dataclass(frozen=True)
class StageResult:
    """What became of one stage: `status` is "done" or "up to date"."""

    stage: str
    status: str
    seconds: float
    figures: dict[str, Any]


def run_stages(run: Run, recipe: Recipe, base_folder: Path, *, last: str = "report") -> list[StageResult]:
    """Bring every stage up to `last` up to date. Raises ForjaError; what was complete before stays."""
    recipe = _with_absolute_paths(recipe, base_folder)
    company = Company()
    if rank() > 0:
        _train_along(run, recipe, base_folder, company)
        return []
    with run.locked(), company:
        _refuse_half_erased(run)
        write_recipe(run, recipe)
        results = []
        for stage in stages_until(last, recipe):
            results.append(_run_stage(stage, run, recipe, base_folder, company))
            if stage.outputs[0] == "training":
                write_recipe(run, recipe)
        if (run.folder / "model" / "stale.json").exists():
            say(f"the model has trained on documents since forgotten; see forja data forget {run.name} --retrain")
        return results


def _train_along(run: Run, recipe: Recipe, base_folder: Path, company: Company) -> None:
    """What the processes do that a launcher started beside the first: train with it when it comes to that."""
    train = pretraining.train if recipe.base is None else finetuning.train
    while workspace := company.hear().get("workspace"):
        train(Job(run, recipe, base_folder, Path(workspace), company))


def run_one_stage(run: Run, recipe: Recipe, base_folder: Path, name: str) -> StageResult:
    """Bring one stage of an existing run up to date, taking the stages before it as they are."""
    with run.locked():
        _refuse_half_erased(run)
        recipe = _with_absolute_paths(recipe, base_folder)
        return _run_stage(_stage(recipe, name), run, recipe, base_folder)


def _refuse_half_erased(run: Run) -> None:
    if (run.folder / ERASING).exists():
        raise ForjaError(
            "documents were being forgotten here, and it was cut short.",
            where=str(run.folder),
            fix=f"Finish it first: forja data forget {run.name} --yes",
        )


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """All stages of a run of this recipe, in order."""
    return pretraining.STAGES if recipe.base is None else finetuning.STAGES


def stages_until(last: str, recipe: Recipe) -> list[Stage]:
    """The stages that `last` stands on, in order, `last` included. Raises ForjaError where the recipe has none such."""
    wanted = {_stage(recipe, last).name}
    for stage in reversed(stages_of(recipe)):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in stages_of(recipe) if stage.name in wanted]


def _stage(recipe: Recipe, name: str) -> Stage:
    found = next((stage for stage in stages_of(recipe) if stage.name == name), None)
    if found is None:
        what = "trains from raw text" if recipe.base is None else f"fine-tunes {recipe.base}"
        names = ", ".join(stage.name for stage in stages_of(recipe))
        raise ForjaError(f"this recipe {what}, and has no stage {name}.", where=recipe.name, fix=f"It has {names}.")
    return found


def _run_stage(
    stage: Stage, run: Run, recipe: Recipe, base_folder: Path, company: Company | None = None
) -> StageResult:
    run.recover(stage.name)
    plan = _plan(stage, run, recipe, base_folder)
    fingerprint = digest(plan)
    receipt = run.receipt(stage.outputs[0])
    if receipt is not None and is_plan_of(receipt, plan):
        say(f"{stage.name}: up to date")
        return StageResult(stage.name, "up to date", 0.0, receipt["figures"])
    say(f"{stage.name}: {_why(receipt, plan)}")
    start = time.monotonic()
    place = run.open_building(stage.name, fingerprint)
    workspace = place / stage.outputs[0] if len(stage.outputs) == 1 else place
    workspace.mkdir(exist_ok=True)
    figures = _as_json(stage.work(Job(run, recipe, base_folder, workspace, company)))
    (place / stage.outputs[0]).mkdir(exist_ok=True)
    seconds = round(time.monotonic() - start, 1)
    receipt = {
        "stage": stage.name,
        "fingerprint": fingerprint,
        "plan": plan,
        "resolved": figures.pop("resolved", {}),
        "figures": figures,
        "outputs": output_digests(place, stage.outputs, aside=stage.aside),
        "seconds": seconds,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json_atomic(place / stage.outputs[0] / "receipt.json", receipt)
    run.finish(stage.name, stage.outputs)
    run.append_ledger({"event": "stage", "stage": stage.name, "receipt": digest(receipt)})
    say(f"{stage.name}: done in {duration(seconds)}")
    return StageResult(stage.name, "done", seconds, figures)


def plan_of(name: str, run: Run, recipe: Recipe, base_folder: Path) -> dict[str, Any]:
    """Everything that decides the bytes of the stage `name`, as its receipt keeps it. Raises ForjaError."""
    return _plan(_stage(recipe, name), run, _with_absolute_paths(recipe, base_folder), base_folder)


def is_plan_of(receipt: dict[str, Any], plan: dict[str, Any]) -> bool:
    """Whether what the receipt tells of was made by this plan."""
    return receipt["plan"] in (plan, _with_auto_again(plan, receipt))


def outputs_digest(receipt: dict[str, Any]) -> str:
    """What a later stage's plan keeps of the outputs that it reads."""
    return digest({path: entry["sha256"] for path, entry in receipt["outputs"].items()})


def _plan(stage: Stage, run: Run, recipe: Recipe, base_folder: Path) -> dict[str, Any]:
    """Everything that decides the stage's bytes."""
    inputs: dict[str, Any] = {}
    for need in stage.needs:
        receipt = run.receipt(_stage(recipe, need).outputs[0])
        if receipt is None:
            raise ForjaError(f"the {stage.name} stage needs the {need} stage's output, which is not there.")
        inputs[need] = outputs_digest(receipt)
    if stage.inputs is not None:
        inputs["sources"] = digest(stage.inputs(recipe, base_folder, run.folder))
    return {
        "inputs": inputs,
        "recipe": stage.sections(recipe),
        "code": _code_digest(stage.code),
        "versions": {name: _version(name) for name in stage.libraries},
    }


def _with_auto_again(plan: dict[str, Any], receipt: dict[str, Any]) -> dict[str, Any]:
    """The plan with `auto` where it spells out what the receipt's `auto` came to, as a run's own recipe.yaml does."""
    sections = {**plan["recipe"]}
    for name, section in sections.items():
        asked = receipt["plan"]["recipe"].get(name)
        if isinstance(section, dict) and isinstance(asked, dict):
            sections[name] = {
                key: "auto" if asked.get(key) == "auto" and value == receipt["resolved"].get(key) else value
                for key, value in section.items()
            }
    return {**plan, "recipe": sections}


def _why(receipt: dict[str, Any] | None, plan: dict[str, Any]) -> str:
    if receipt is None:
        return "running"
    old = receipt["plan"]
    changed = [f"{key} changed" for key in _changed_keys(old["recipe"], plan["recipe"])]
    changed += [f"the {key} changed" for key in _changed_keys(old["inputs"], plan["inputs"])]
    changed += [f"{key} has another version" for key in _changed_keys(old["versions"], plan["versions"])]
    if old["code"] != plan["code"]:
        changed.append("Forja's own code changed")
    return f"running again, as {', '.join(changed[:4])}" if changed else "running again, as outputs are missing"


def _changed_keys(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        nested = (_changed_keys(old.get(key), new.get(key), f"{path}.{key}" if path else key) for key in keys)
        return [key for found in nested for key in found]
    return [] if old == new else [path]


def _code_digest(paths: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for relative in paths:
        top = PACKAGE / relative
        found = (path for kind in ("*.py", "*.jinja", "*.txt") for path in top.rglob(kind))
        for file in [top] if top.is_file() else sorted(found):
            if file.relative_to(PACKAGE).as_posix() in ONLOOKERS:
                continue
            whole.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _as_json(figures: Any) -> dict[str, Any]:
    return dataclasses.asdict(figures) if dataclasses.is_dataclass(figures) else dict(figures)  # type: ignore[arg-type]


def _with_absolute_paths(recipe: Recipe, base_folder: Path) -> Recipe:
    """The recipe as a run's own recipe.yaml has it: paths no longer depend on where it lies."""
    data = recipe.model_dump()
    for source in data["corpus"]["sources"]:
        if source["path"] is not None:
            source["path"] = str(base_folder / Path(source["path"]).expanduser())
        if source["dataset"] is not None and (folder := base_folder / Path(source["dataset"]).expanduser()).is_dir():
            source["dataset"] = str(folder)
    if (cache := data["corpus"]["cache"]) is not None:
        data["corpus"]["cache"] = str(base_folder / Path(cache).expanduser())
    sets = data["corpus"]["decontamination"]["sets"]
    data["corpus"]["decontamination"]["sets"] = [str(base_folder / Path(name).expanduser()) for name in sets]
    for kind in ("files", "test_files"):
        data["examples"][kind] = [str(base_folder / Path(name).expanduser()) for name in data["examples"][kind]]
    if recipe.base is not None:
        data["base"] = _absolute_base(recipe.base, base_folder)
    if (key := data["corpus"]["subject_key_file"]) is not None:
        data["corpus"]["subject_key_file"] = str(base_folder / Path(key).expanduser())
    return Recipe.model_validate(data)


def _absolute_base(named: str, base_folder: Path) -> str:
    """A folder by its path from anywhere; a run by its folder; a hub's name as it is."""
    for place in (runs_folder() / named, Path(named).expanduser(), base_folder / Path(named).expanduser()):
        if place.is_dir():
            return str(place.resolve())
    return named


def write_recipe(run: Run, recipe: Recipe) -> None:
    """The recipe as resolved: defaults written out, each `auto` that is known replaced."""
    data = recipe.model_dump()
    receipt = run.receipt("training")
    trained = next(stage for stage in stages_of(recipe) if stage.outputs[0] == "training")
    section = data["training" if recipe.base is None else "finetune"]
    if receipt is not None and receipt["plan"]["recipe"] == trained.sections(recipe):
        for key, value in receipt["resolved"].items():
            if section.get(key) == "auto":
                section[key] = value
    write_text_atomic(run.folder / "recipe.yaml", dump_recipe(Recipe.model_validate(data)))
