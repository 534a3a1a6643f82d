"""GLUE, each task fine-tuned from the run's model and scored on its dev set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forja.evaluation.glue import TASKS
from forja.evaluation.glue_scoring import CAP, Fit, score_tasks
from forja.evaluation.task import Subject, TaskResult


def evaluate(subject: Subject, data: Sequence[Path], *, fit: Fit | None = None, cap: int = CAP) -> list[TaskResult]:
    """A result a task found, and one of all. data: folders in the official layout, or the hub's name of GLUE;
    fit: how a task is taught, by fine-tuning without one; cap: training items, at most. Raises ForjaError."""
    if fit is not None:
        return score_tasks("glue", TASKS, data, ".tsv", fit, seed=subject.seed, cap=cap)
    from forja.evaluation.glue_fit import fine_tuned  # torch takes seconds to load

    return fine_tuned("glue", TASKS, subject, data, ".tsv", cap=cap)
