"""Fine-tuning as a function, for evaluations that train: texts and labels in, a classifier out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forja.corpus.examples.layouts import Example
from forja.evaluation.classifier import RunClassifier, balance
from forja.models.base import Base
from forja.models.tuned import Head, finished
from forja.recipe import FinetuneSection
from forja.tokens.texts import TextEncoder
from forja.training.checkpoints import load_checkpoint
from forja.training.finetune import finetune, shape_of
from forja.training.pretrain import best_checkpoint
from forja.training.task_data import labelled_data, reading_room, reads_plainly


def fit_classifier(
    section: FinetuneSection,
    base: Base,
    head: Head,
    train: Sequence[Example],
    valid: Sequence[Example],
    workspace: Path,
    *,
    seed: int,
) -> RunClassifier:
    """The base fine-tuned on these examples, going on from what `workspace` holds of it. Raises ForjaError."""
    data = labelled_data(section, base, head, train, valid)
    finetune(section, base, data, workspace, seed=seed)
    checkpoint = load_checkpoint(best_checkpoint(workspace))
    model = finished(base, shape_of(section, head, seed), checkpoint.model)
    plain = reads_plainly(section, base, train)
    encoder = TextEncoder(base.folder, max_tokens=reading_room(section, base), plain=plain)
    classifier = RunClassifier(model, encoder, head.labels)
    balance(classifier, valid)
    return classifier
