"""What a stage of a run is, and what its work is given. Which there are is in `pretraining.py` and `finetuning.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.recipe import Recipe
from forja.run import Run, sha256_file
from forja.training.processes import Company


@dataclass(frozen=True)
class Job:
    """What a stage's work is given."""

    run: Run
    recipe: Recipe
    base_folder: Path
    workspace: Path
    company: Company | None = None


@dataclass(frozen=True)
class Stage:
    """One stage: its outputs (the first holds the receipt), what it reads, and its work.

    inputs: from the recipe, the folder its paths start from and the run's to what the outside gives; aside: folders
    within the outputs that are none of them.
    """

    name: str
    outputs: tuple[str, ...]
    needs: tuple[str, ...]
    sections: Callable[[Recipe], Any]
    code: tuple[str, ...]
    libraries: tuple[str, ...]
    work: Callable[[Job], Any]
    inputs: Callable[[Recipe, Path, Path], Any] | None = None
    aside: tuple[str, ...] = ()


def tasks_done(recipe: Recipe, base_folder: Path, run_folder: Path) -> dict[str, str]:
    """What evaluation tasks have left beside the stages' own outputs: a report tells of it too."""
    return {path.name: sha256_file(path) for path in sorted((run_folder / "evaluation").glob("*.json"))}
