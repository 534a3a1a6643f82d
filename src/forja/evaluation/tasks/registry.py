"""The evaluation tasks by name. A task's module is imported when it is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from forja.errors import ForjaError
from forja.evaluation.task import Subject, TaskResult


@dataclass(frozen=True)
class Task:
    """A task's module, and what its files hold, in words."""

    module: str
    data: str


TASKS = {
    "classification": Task("classification", "rows with a text and its label, for a fine-tuned classifier"),
    "phishing": Task("classification", "mails, messages or addresses with a label, for a fine-tuned classifier"),
    "language": Task("language", "text: perplexity and bits a byte, by source"),
    "glue": Task("glue", "the folder of GLUE's tasks, in the official layout"),
    "superglue": Task("superglue", "the folder of SuperGLUE's tasks, in the official layout"),
    "cyber-knowledge": Task("cyber_knowledge", "multiple-choice sets: CyberMetric, SecEval, CTIBench, CyberSOCEval"),
    "secure-code": Task("secure_code", "prompts for code: SecurityEval, CyberSecEval, LLMSecEval"),
    "log-anomaly": Task("log_anomaly", "labelled log lines or sessions: BGL, Thunderbird, HDFS"),
    "bias": Task("bias", "CrowS-Pairs, Winogender, BBQ"),
    "harness": Task("harness", "task files of the language-model evaluation harness"),
}

NAMED = ("glue", "superglue")
"""Tasks whose data may be the name of a `datasets` repository."""


def evaluate_task(name: str, subject: Subject, data: Sequence[Path]) -> list[TaskResult]:
    """What the task of this name comes to. Raises ForjaError for a name that is none, and whatever the task refuses."""
    task = TASKS.get(name)
    if task is None:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ForjaError(f"there is no task {name!r}.", where="--task", fix=f"{hint}There are {', '.join(TASKS)}.")
    if not data:
        raise ForjaError(f"the task {name} needs files.", where="--data", fix=f"Name {task.data}.")
    for path in data:
        if not path.exists() and name not in NAMED:
            raise ForjaError("there is no such file or folder.", where=f"--data {path}", fix="Check the path.")
    evaluate: Callable[[Subject, Sequence[Path]], TaskResult | list[TaskResult]] = import_module(
        f"forja.evaluation.tasks.{task.module}"
    ).evaluate
    told = evaluate(subject, data)
    return told if isinstance(told, list) else [told]
