"""Making again what has learned from forgotten documents: the training from its last sound checkpoint, and where asked
the tokenizer and all after it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.lineage import CHECKPOINTS
from forja.pipeline import StageResult, is_plan_of, plan_of, run_one_stage, write_recipe
from forja.pretraining import STAGES
from forja.recipe import Recipe
from forja.recipe_file import load_recipe
from forja.run import Run, digest, read_json, write_json_atomic
from forja.training.checkpoints import checkpoint_folder, drop_later, list_checkpoints
from forja.training.exposure import last_sound, read_mark

RECEIPT = Path("training") / "receipt.json"


@dataclass(frozen=True)
class Retrained:
    """start: the step that training went on from, 0 for the first; stages: what became of each."""

    start: int
    stages: list[StageResult]


def retrain(run: Run, *, deep: bool = False) -> Retrained:
    """Train again what has used forgotten documents, and run what stands on it. Raises ForjaError.

    The weights are, to the bit, those of the same run whose shards had the gaps from its first step. deep: make the
    tokenizer again too where it was trained on them; all after it then starts anew. Given again after a kill, it goes
    on.
    """
    recipe, base_folder = load_recipe(str(run.folder / "recipe.yaml"))
    with run.locked():
        afresh = deep and read_mark(run.folder / "tokenizer") is not None
        if afresh:
            (run.folder / "tokenizer" / "receipt.json").unlink(missing_ok=True)
        recipe, fingerprint = (recipe, None) if afresh else _same_training(run, recipe, base_folder)
        start = _prepare(run, fingerprint)
    left = ("corpus",) if deep else ("corpus", "tokenizer", "tokens")
    after = [stage for stage in STAGES if stage.name not in left]
    had = [stage.name for stage in after if any((run.folder / output).exists() for output in stage.outputs)]
    return Retrained(start, [run_one_stage(run, recipe, base_folder, name) for name in had])


def _same_training(run: Run, recipe: Recipe, base_folder: Path) -> tuple[Recipe, str | None]:
    """The recipe as the finished training was asked for it, each `auto` unresolved, and the fingerprint to go on by;
    None where recipe, code or libraries are others since, so that no checkpoint can be gone on from."""
    receipt = read_json(run.folder / RECEIPT)
    if receipt is None:
        return recipe, None
    asked = {**recipe.model_dump(), "training": receipt["plan"]["recipe"]["training"]}
    again = Recipe.model_validate(asked)
    plan = plan_of("pretrain", run, again, base_folder)
    if not is_plan_of(receipt, plan):
        return recipe, None
    write_recipe(run, again)
    return again, digest(plan)


def _prepare(run: Run, fingerprint: str | None) -> int:
    """Delete the checkpoints that know of what was forgotten, and set up the training to go on from the last that does
    not; returns its step. What is sound stays where it is until it is replaced, so a kill in between loses nothing."""
    mark = read_mark(run.folder / CHECKPOINTS)
    if mark is None or not (run.folder / RECEIPT).is_file():
        return 0
    sound = 0
    place = run.building("pretrain")
    shutil.rmtree(place, ignore_errors=True)
    if fingerprint is not None:
        sound = last_sound(run.folder / CHECKPOINTS, mark)
        (place / "training").mkdir(parents=True)
        for name in ("resolved.json", "log.jsonl"):
            shutil.copyfile(run.folder / "training" / name, place / "training" / name)
        for step in list_checkpoints(run.folder / CHECKPOINTS):
            if step <= sound:
                kept = checkpoint_folder(Path(CHECKPOINTS), step)
                shutil.copytree(run.folder / kept, place / kept, copy_function=_link)
        write_json_atomic(place / "plan.json", {"fingerprint": fingerprint})
    drop_later(run.folder / CHECKPOINTS, sound)
    (run.folder / RECEIPT).unlink()
    return sound


def _link(source: str, target: str) -> Any:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
