"""How well the model's surprise finds what is wrong in a log: nats a token of lines, or of whole sessions.

The threshold is a quantile of the scores of normal entries that are set apart, so that it takes no anomaly to find it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError
from forja.evaluation.anomaly import Entry, read_log, session_scores
from forja.evaluation.likelihood import text_nats
from forja.evaluation.scores import binary_figures
from forja.evaluation.task import Figure, Subject, TaskResult

QUANTILE = 0.99
APART = 3
"""One of so many normal entries gives the threshold."""
MOST = 2000
"""Entries of a log that are scored."""
TOLD = ("precision", "recall", "f1", "auroc", "average_precision")

Floats = npt.NDArray[np.float64]


def evaluate(subject: Subject, data: Sequence[Path]) -> TaskResult:
    """Of labelled logs (see `anomaly.read_log`), those of one kind together. Raises ForjaError for other files, and
    where there are too few normal entries to find a threshold."""
    logs = [read_log(path) for path in data]
    model, tokenizer = subject.language_model()
    figures: dict[str, Figure] = {}
    details: dict[str, Any] = {"quantile": QUANTILE, "threshold": None, "thresholds": {}, "notes": []}
    predictions: list[dict[str, Any]] = []
    items = 0
    for kind in ("line", "session"):
        entries = chosen([entry for log in logs if log.kind == kind for entry in log.entries], details["notes"], kind)
        if not entries:
            continue
        told = text_nats(model, tokenizer, [entry.text for entry in entries])
        scores = np.array([one.nats / max(1, one.tokens) for one in told])
        tested, threshold = set_apart(entries, scores)
        details["thresholds"][kind] = threshold
        kept, own = [entries[at] for at in tested], scores[tested]
        labels = np.array([entry.anomalous for entry in kept], np.int64)
        figures |= named(kind, labels, own, threshold, subject.seed)
        if kind == "line":
            by_session = session_scores(kept, own)
            figures |= named("session", *by_session, threshold, subject.seed)
            details["notes"].append(f"{len(by_session[0]):,} sessions of lines: the lines of a node are one.")
        items += len(kept)
        predictions += [
            {
                "id": entry.id,
                "label": str(int(entry.anomalous)),
                "told": str(int(score >= threshold)),
                "score": float(score),
            }
            for entry, score in zip(kept, own, strict=True)
        ]
    return TaskResult("log-anomaly", "anomaly", items, figures, details, predictions)


def named(kind: str, labels: npt.NDArray[np.int64], scores: Floats, threshold: float, seed: int) -> dict[str, Figure]:
    """The figures of lines or of sessions, under its name."""
    found = binary_figures(labels, scores, threshold, seed)
    return {f"{kind}.{name}": found[name] for name in TOLD if name in found}


def chosen(entries: Sequence[Entry], notes: list[str], kind: str) -> list[Entry]:
    """MOST of the entries, by a hash of where they stand, in their order."""
    if len(entries) <= MOST:
        return list(entries)
    ordered = sorted(entries, key=lambda entry: hashlib.sha256(entry.id.encode()).digest())
    picked = {entry.id for entry in ordered[:MOST]}
    notes.append(f"{MOST:,} of {len(entries):,} {kind}s are scored.")
    return [entry for entry in entries if entry.id in picked]


def set_apart(entries: Sequence[Entry], scores: Floats) -> tuple[list[int], float]:
    """The places that are tested, and the threshold from the normal entries that are not."""
    apart = [
        at
        for at, entry in enumerate(entries)
        if not entry.anomalous and int(hashlib.sha256(entry.id.encode()).hexdigest()[:8], 16) % APART == 0
    ]
    if len(apart) < 20:
        raise ForjaError(
            f"{len(apart)} normal entries are too few to find a threshold.", fix="Give a log with more normal lines."
        )
    left = set(apart)
    return [at for at in range(len(entries)) if at not in left], float(np.quantile(scores[apart], QUANTILE))
