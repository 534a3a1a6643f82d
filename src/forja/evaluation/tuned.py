"""A fine-tuned model on the examples that it was not shown: what each kind of fine-tuning is measured by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from forja.errors import ForjaError
from forja.evaluation.bootstrap import intervals
from forja.evaluation.task import Subject, TaskResult
from forja.evaluation.tasks.classification import evaluate_split
from forja.models.base import Base
from forja.recipe import FinetuneSection
from forja.training.examples import Examples, Preferences
from forja.training.objectives import answer_nats, next_token
from forja.training.task_data import encoded_split

BATCH = 16


def evaluate_tuned(section: FinetuneSection, subject: Subject, examples: Path) -> TaskResult:
    """The run's test examples under the measure of its kind. Raises ForjaError where there are none."""
    if section.kind == "classification":
        return evaluate_split(subject, examples)
    base = Base(str(subject.folder), subject.folder / "model")
    held = encoded_split(section, base, examples, "test")
    if not len(held.lengths):
        raise ForjaError(
            "no example was held out for the test.", where=str(examples), fix="Give more, or name examples.test_files."
        )
    return _preferred(subject, held) if isinstance(held, Preferences) else _predicted(subject, held)


@torch.inference_mode()
def _predicted(subject: Subject, held: Examples) -> TaskResult:
    """Nats of the tokens that count (of a conversation, the assistant's)."""
    model, _ = subject.language_model()
    found = np.zeros((len(held.lengths), 2))
    for places in _batches(len(found)):
        losses = next_token(model, held.batch(places))
        found[places] = torch.stack((losses.sums, losses.weights), dim=1).double().numpy()
    nats, tokens = found.T
    figures = intervals(
        len(found),
        {
            "perplexity": lambda at: float(np.exp(nats[at].sum() / tokens[at].sum())),
            "nats_per_token": lambda at: float(nats[at].sum() / tokens[at].sum()),
        },
        seed=subject.seed,
    )
    return TaskResult("held-out", "language", len(found), figures, {"tokens": int(tokens.sum())})


@torch.inference_mode()
def _preferred(subject: Subject, held: Preferences) -> TaskResult:
    """How often the chosen answer is likelier than the rejected one, and likelier a token."""
    model, _ = subject.language_model()
    nats = np.zeros((len(held.lengths), 2))
    for places in _batches(len(nats)):
        nats[places] = answer_nats(model, held.batch(places)).numpy()
    sides = (held.chosen, held.rejected)
    counted = np.array([[max(1, int(side.counted[at][1:].sum())) for side in sides] for at in range(len(nats))])
    likelier, a_token = nats[:, 0] < nats[:, 1], nats[:, 0] / counted[:, 0] < nats[:, 1] / counted[:, 1]
    figures = intervals(
        len(nats),
        {"preferred": lambda at: float(likelier[at].mean()), "preferred_a_token": lambda at: float(a_token[at].mean())},
        seed=subject.seed,
    )
    rows = [{"id": str(number), "correct": bool(right)} for number, right in enumerate(likelier)]
    return TaskResult("preference", "multiple-choice", len(nats), figures, {"chance": 0.5}, rows)


def _batches(count: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
