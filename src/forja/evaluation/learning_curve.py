"""What transfer buys: a classifier trained on growing shares of the same labels, from the base and from random weights
(Howard and Ruder 2018, section 5.1)."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.examples.build import load_examples
from forja.corpus.examples.layouts import Example
from forja.evaluation.classifier import RunClassifier, positive_label
from forja.evaluation.fitted import fit_classifier
from forja.evaluation.task import Figure, as_finite
from forja.evaluation.thresholds import best_f1_threshold
from forja.evaluation.told import Told
from forja.models.base import Base
from forja.models.tuned import Head
from forja.progress import say
from forja.recipe import FinetuneSection
from forja.run import read_json, write_json_atomic

CURVE = "learning_curve.json"


def learning_curve(section: FinetuneSection, base: Base, examples: Path, folder: Path, *, seed: int) -> None:
    """Write folder/learning_curve.json: the F1 on the test examples of each training. Takes two trainings a share."""
    train, valid, test = (load_examples(examples, split) for split in ("train", "valid", "test"))
    head = Head(list(read_json(examples / "labels.json") or []))
    points: list[dict[str, Any]] = []
    for share in sorted(section.learning_curve):
        few = share_of(train, share)
        point: dict[str, Any] = {"examples": len(few)}
        for name, scratch in (("transfer", False), ("scratch", True)):
            say(f"  {len(few):,} examples, {'from random weights' if scratch else 'from the base'}")
            place = folder / f".{name}-{len(few)}"
            asked = section.model_copy(
                update={"from_scratch": scratch, "lora": None if scratch else section.lora, "learning_curve": []}
                | ({"freeze_layers": 0} if scratch else {})
            )
            classifier = fit_classifier(asked, base, head, few, valid, place, seed=seed)
            point[name] = _f1(classifier, valid, test, seed)
            shutil.rmtree(place)
        points.append(point)
    write_json_atomic(folder / CURVE, as_finite({"metric": "f1", "points": points}))


def _f1(classifier: RunClassifier, valid: Sequence[Example], test: Sequence[Example], seed: int) -> Figure:
    """On the test examples; of two classes at the validation examples' best threshold."""
    names = classifier.labels
    positive = positive_label(names)
    column = None if positive is None else names.index(positive)
    threshold = None
    if column is not None:
        threshold = 0.5
        if valid:
            hits = (_aims(valid, names) == column).astype(np.int64)
            threshold = best_f1_threshold(hits, classifier.scores(_texts(valid))[:, column])
    told = Told(_aims(test, names), classifier.scores(_texts(test)), column, threshold)
    return told.figures(seed, only=("f1",))["f1"]


def _texts(examples: Sequence[Example]) -> list[str]:
    return [one.text or "" for one in examples]


def _aims(examples: Sequence[Example], names: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([names.index(str(one.label)) for one in examples], np.int64)


def share_of(examples: Sequence[Example], share: float) -> list[Example]:
    """The same first part of each class whatever the share, so that larger ones hold the smaller ones; one at least."""
    by_class: dict[str | None, list[Example]] = {}
    for one in sorted(examples, key=lambda one: hashlib.sha256(one.id.encode()).digest()):
        by_class.setdefault(one.label, []).append(one)
    return [one for alike in by_class.values() for one in alike[: max(1, math.ceil(share * len(alike)))]]
