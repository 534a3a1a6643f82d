"""SuperGLUE, each task fine-tuned from the run's model and scored on its validation set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forja.evaluation.glue_scoring import CAP, Fit, score_tasks
from forja.evaluation.superglue import TASKS
from forja.evaluation.task import Subject, TaskResult


def evaluate(subject: Subject, data: Sequence[Path], *, fit: Fit | None = None, cap: int = CAP) -> list[TaskResult]:
    """A result a task found, and one of all. data: folders in the official layout, or the hub's name of SuperGLUE;
    fit: how a task is taught, by fine-tuning without one; cap: training items, at most. Raises ForjaError."""
    if fit is not None:
        return score_tasks("superglue", TASKS, data, ".jsonl", fit, seed=subject.seed, cap=cap)
    from forja.evaluation.glue_fit import fine_tuned  # torch takes seconds to load

    return fine_tuned("superglue", TASKS, subject, data, ".jsonl", cap=cap)
