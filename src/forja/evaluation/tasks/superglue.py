"""SuperGLUE, each task fine-tuned from the run's model and scored on its validation set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forja.evaluation.glue_scoring import CAP, Fit, score_tasks
from forja.evaluation.superglue import TASKS
from forja.evaluation.task import Subject, TaskResult


def evaluate(subject: Subject, data: Sequence[Path], *, fit: Fit, cap: int = CAP) -> list[TaskResult]:
    """A result a task found, and one of all. data: folders in the official layout, or the hub's name of SuperGLUE;
    fit: how a task is taught; cap: training items, at most. Raises ForjaError."""
    return score_tasks("superglue", TASKS, data, ".jsonl", fit, seed=subject.seed, cap=cap)
