"""A fine-tuned classifier at work: probabilities of texts, and the threshold that its own validation texts gave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forja.corpus.examples.build import load_examples
from forja.corpus.examples.layouts import Example
from forja.errors import ForjaError
from forja.evaluation.thresholds import expected_f1_threshold, fit_temperature
from forja.models.classifier import TransformerClassifier
from forja.models.tuned import load_classifier_folder
from forja.progress import progress
from forja.run import read_json, write_json_atomic
from forja.tokens.texts import TextEncoder
from forja.training.examples import STRIDE, padded

CALIBRATION = "classification.json"
TOKENS_A_BATCH = 2048
FAITH = 0.5
"""How strongly a branch's weight is held at 1, in nats for a weight of e, against what all validation examples say."""
POSITIVE_NAMES = ("1", "true", "yes", "positive", "phishing", "spam", "malicious", "attack", "anomaly", "abnormal")
"""Labels that name what a two-class detector looks for."""


@dataclass
class RunClassifier:
    """A classifier with its tokenizer. positive: the label that it looks for, where there are two; temperature: by
    which its logits are divided; threshold: of the positive label's probability."""

    model: nn.Module
    encoder: TextEncoder
    labels: list[str]
    positive: str | None = None
    temperature: float = 1.0
    threshold: float = 0.5

    def scores(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Probabilities, (texts, classes), columns in the order of `labels`."""
        return probabilities(self.logits(texts), self.temperature)

    def verdicts(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Of each text {text, label, score, scores}: the label told, its probability, and all labels'. Of two labels
        the positive one is told from the threshold up."""
        told = []
        for text, row in zip(texts, self.scores(texts), strict=True):
            best = int(row.argmax())
            if self.positive is not None:
                looked_for = self.labels.index(self.positive)
                best = looked_for if row[looked_for] >= self.threshold else 1 - looked_for
            scores = {label: float(score) for label, score in zip(self.labels, row, strict=True)}
            told.append({"text": text, "label": self.labels[best], "score": float(row[best]), "scores": scores})
        return told

    def logits(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """(texts, classes)."""
        whole: npt.NDArray[np.float64] = self._told(texts, lambda tokens, mask: [self.model(tokens, mask=mask)])[0]
        return whole

    def branches(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Logits of the model's branches, which add up to its own, (branches, texts, classes)."""
        model = self.model
        assert isinstance(model, TransformerClassifier)
        return self._told(texts, lambda tokens, mask: model.branches(tokens, mask=mask))

    @torch.inference_mode()
    def _told(self, texts: Sequence[str], tell: Callable[[Tensor, Tensor], list[Tensor]]) -> npt.NDArray[np.float64]:
        """(what is told, texts, classes); texts of like length are read together."""
        encoded = [np.asarray(ids, np.int64) for ids in self.encoder.encode(texts)]
        order = sorted(range(len(encoded)), key=lambda at: len(encoded[at]))
        device = next(self.model.parameters()).device
        parts: list[npt.NDArray[np.float64]] = []
        with progress("scoring", total=len(encoded), unit="texts") as bar:
            for places in _groups(order, [len(ids) for ids in encoded]):
                tokens, mask = padded([encoded[at] for at in places], room=self.encoder.max_tokens)
                told = tell(tokens.to(device), mask.to(device))
                parts.append(torch.stack(told).double().cpu().numpy())
                bar.advance(len(places))
        found: npt.NDArray[np.float64] = np.zeros((1, 0, len(self.labels)))
        if parts:
            found = np.empty((len(parts[0]), len(encoded), len(self.labels)))
            found[:, order] = np.concatenate(parts, axis=1)
        return found


def probabilities(logits: npt.NDArray[np.float64], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Softmax of logits / temperature, (texts, classes)."""
    scaled = logits / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    whole: npt.NDArray[np.float64] = scaled / scaled.sum(axis=1, keepdims=True)
    return whole


def _groups(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """The places in batches of about TOKENS_A_BATCH tokens, padding counted."""
    groups: list[list[int]] = []
    for at in order:
        wide = -(-lengths[at] // STRIDE) * STRIDE
        if not groups or (len(groups[-1]) + 1) * wide > TOKENS_A_BATCH:
            groups.append([])
        groups[-1].append(at)
    return groups


def load_run_classifier(run_folder: Path) -> RunClassifier:
    """A run's classifier as its export calibrated it. Raises ForjaError where the run has none."""
    folder = run_folder / "model"
    if not folder.is_dir():
        raise ForjaError("this run has no model yet.", where=str(run_folder), fix="Run it to the end first.")
    return load_calibrated(folder)


def load_calibrated(folder: Path) -> RunClassifier:
    """A classifier's folder, with what is known of its threshold. Raises ForjaError."""
    known: dict[str, Any] = read_json(folder / CALIBRATION) or {}
    classifier = _plain(folder, known.get("max_tokens"))
    classifier.positive = known.get("positive") or positive_label(classifier.labels)
    classifier.temperature = float(known.get("temperature", 1.0))
    classifier.threshold = float(known.get("threshold", 0.5))
    return classifier


def _plain(folder: Path, max_tokens: int | None) -> RunClassifier:
    model, labels = load_classifier_folder(folder)
    room = max_tokens or int(getattr(model.config, "context", 512))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return RunClassifier(model.to(device), TextEncoder(folder, max_tokens=room), labels)


def positive_label(labels: Sequence[str]) -> str | None:
    """Of two labels the one that is looked for: by its name, else the second; None where there are not two."""
    if len(labels) != 2:
        return None
    return next((label for label in labels if label.lower() in POSITIVE_NAMES), labels[1])


def balance(classifier: RunClassifier, held: Sequence[Example]) -> None:
    """Weigh the branches of a model that has several as best explains the validation examples (stacking, Wolpert
    1992): one that has learned its training texts by heart is sure of itself without reason. Changes the model."""
    model = classifier.model
    if not isinstance(model, TransformerClassifier) or model.ngrams is None or not held:
        return
    logits = torch.from_numpy(classifier.branches([one.text or "" for one in held]))
    aims = torch.tensor([classifier.labels.index(str(one.label)) for one in held])
    weights = torch.zeros(len(logits), dtype=torch.float64, requires_grad=True)  # logarithms
    search = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def nats() -> Tensor:
        search.zero_grad()
        mixed = (weights.exp()[:, None, None] * logits).sum(dim=0)
        loss = torch.nn.functional.cross_entropy(mixed, aims) + FAITH / len(aims) * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(nats)  # type: ignore[no-untyped-call]
    model.scale_branches(weights.detach().exp().tolist())


def calibrate(folder: Path, examples: Path, *, max_tokens: int) -> None:
    """Fit temperature and, of two classes, threshold on the validation examples; write folder/classification.json.

    The validation scores stay in it: what a new collection's scores are compared with.
    """
    classifier = _plain(folder, max_tokens)
    held = load_examples(examples, "valid")
    logits = classifier.logits([one.text or "" for one in held])
    aims = np.array([classifier.labels.index(str(one.label)) for one in held], np.int64)
    temperature = fit_temperature(logits, aims) if len(held) else 1.0
    told: dict[str, Any] = {"labels": classifier.labels, "temperature": temperature, "max_tokens": max_tokens}
    positive = positive_label(classifier.labels)
    if positive is not None and len(held):
        column = classifier.labels.index(positive)
        scores, hits = probabilities(logits, temperature)[:, column], (aims == column).astype(np.int64)
        told["positive"], told["threshold"] = positive, expected_f1_threshold(scores)
        told["validation"] = {"scores": [float(f"{score:.6g}") for score in scores], "labels": hits.tolist()}
    write_json_atomic(folder / CALIBRATION, told)
