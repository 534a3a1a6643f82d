"""How GLUE's tasks are taught from a model: fine-tuning by the one loop, that goes on where it was stopped.

What a task's classifier scored is kept until all tasks are done, so that none is fitted twice; of checkpoints, only
those of the one that is being fitted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from forja.corpus.examples.layouts import Example
from forja.evaluation.classifier import RunClassifier
from forja.evaluation.fitted import fit_classifier
from forja.evaluation.glue import Task
from forja.evaluation.glue_scoring import Fit, score_tasks
from forja.evaluation.official_metrics import Floats
from forja.evaluation.task import Subject, TaskResult
from forja.models.base import Base, find_base
from forja.models.tuned import Head
from forja.progress import say
from forja.recipe import FinetuneSection
from forja.recipe.finetuning import TuningOptimizer
from forja.run import complete_or_absent, digest

EPOCHS = 3.0
FEWEST_STEPS = 120
MOST_EPOCHS = 20.0
"""A few passes, and more over a few dozen rows, for which three would be a dozen steps."""
BATCH = 16
VALIDATIONS = 12
"""In all: each may write a checkpoint, which over a few dozen rows would take longer than the training."""
OPTIMIZER = TuningOptimizer(rate=5e-4, embedding_rate=4e-3, layer_decay=0.9, weight_decay=0.01)
NGRAMS = 3
"""As the shipped recipe for classifiers has it."""
VALUE = "value"


WORKSPACE = ".fitting"


def fine_tuned(
    suite: str, tasks: Sequence[Task], subject: Subject, data: Sequence[Path], ending: str, *, cap: int
) -> list[TaskResult]:
    """`score_tasks` by fine-tuning the run's model for each. Raises ForjaError."""
    workspace = subject.folder / WORKSPACE
    fit = fit_from(find_base(str(subject.folder)), workspace, seed=subject.seed)
    results = score_tasks(suite, tasks, data, ending, fit, seed=subject.seed, cap=cap)
    shutil.rmtree(workspace, ignore_errors=True)
    return results


def fit_from(base: Base, workspace: Path, *, seed: int) -> Fit:
    """Fine-tuning from a base. workspace: a folder for what is kept meanwhile, which the caller removes when all is
    scored; called again with it, the same fits go on. The fits raise ForjaError as `finetune` does."""
    signature = base.signature()

    def fit(
        train_texts: Sequence[str],
        train_labels: Sequence[str] | Sequence[float],
        valid_texts: Sequence[str],
        valid_labels: Sequence[str] | Sequence[float],
        *,
        regression: bool,
    ) -> KeptScores:
        section = section_for(len(train_texts))
        asked = (train_texts, train_labels, valid_texts, valid_labels)
        name = digest([signature, section.model_dump(mode="json"), seed, *(list(part) for part in asked)])[:16]
        labels = [VALUE] if regression else sorted({str(label) for label in (*train_labels, *valid_labels)})
        # A layer that begins near 0, without a bias, learns values about 0 with a spread of 1 soonest.
        values = np.array(train_labels, dtype=np.float64) if regression else np.array([0.0, 1.0])
        centre, spread = (float(values.mean()), float(values.std()) or 1.0) if regression else (0.0, 1.0)

        def examples(texts: Sequence[str], told: Sequence[str] | Sequence[float]) -> list[Example]:
            aims = [str((float(one) - centre) / spread) if regression else str(one) for one in told]
            return [
                Example(id=str(number), text=text, label=aim)
                for number, (text, aim) in enumerate(zip(texts, aims, strict=True))
            ]

        def trained() -> RunClassifier:
            place = workspace / name
            for other in workspace.glob("*/"):
                if other != place:
                    shutil.rmtree(other)
            say(f"  fine-tuning on {len(train_texts):,} texts, stopping by {len(valid_texts):,}")
            train, valid = examples(train_texts, train_labels), examples(valid_texts, valid_labels)
            return fit_classifier(section, base, Head(labels, regression), train, valid, place, seed=seed)

        return KeptScores(labels, workspace / f"{name}-", trained, (centre, spread) if regression else None)

    return fit


def section_for(rows: int) -> FinetuneSection:
    """How a task with so many training rows is taught."""
    epochs = round(min(MOST_EPOCHS, max(EPOCHS, FEWEST_STEPS * BATCH / max(rows, 1))), 2)
    steps = epochs * max(1, rows // BATCH)
    return FinetuneSection(
        epochs=epochs, batch=BATCH, optimizer=OPTIMIZER, ngrams=NGRAMS, valid_every=max(1, int(steps / VALIDATIONS))
    )


@dataclass
class KeptScores:
    """A classifier that is fitted when it is first asked of texts whose scores are not kept. values: centre and spread
    of a regression's."""

    labels: list[str]
    prefix: Path
    trained: Callable[[], RunClassifier]
    values: tuple[float, float] | None

    @cached_property
    def classifier(self) -> RunClassifier:
        return self.trained()

    def scores(self, texts: Sequence[str]) -> Floats:
        """Probabilities, (texts, classes), or values, (texts, 1)."""
        path = self.prefix.with_name(f"{self.prefix.name}{digest(list(texts))[:16]}.npy")
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.values is None:
                found = self.classifier.scores(texts)
            else:
                centre, spread = self.values
                found = self.classifier.logits(texts) * spread + centre
            with complete_or_absent(path) as aside, open(aside, "wb") as file:
                np.save(file, found)
        scores: Floats = np.load(path)
        return scores
