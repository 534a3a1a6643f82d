"""GLUE, each task fine-tuned from the run's model and scored on its dev set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forja.evaluation.glue import TASKS
from forja.evaluation.glue_scoring import CAP, Fit, score_tasks
from forja.evaluation.task import Subject, TaskResult


def evaluate(subject: Subject, data: Sequence[Path], *, fit: Fit, cap: int = CAP) -> list[TaskResult]:
    """A result a task found, and one of all. data: folders in the official layout, or the hub's name of GLUE; fit:
    how a task is taught; cap: training items, at most. Raises ForjaError."""
    return score_tasks("glue", TASKS, data, ".tsv", fit, seed=subject.seed, cap=cap)
