"""How well the model's surprise finds what is wrong in a log: nats a token of lines, or of whole sessions.

The threshold is a quantile of the scores of normal entries that are set apart, so that it takes no anomaly to find it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
FEWEST_APART = 20
MOST = 2000
"""Entries that are scored, to the end of a session."""
TOLD = ("precision", "recall", "f1", "auroc", "average_precision")

Floats = npt.NDArray[np.float64]


def evaluate(subject: Subject, data: Sequence[Path]) -> TaskResult:
    """Of labelled logs (see `anomaly.read_log`), all of one kind. Raises ForjaError for other files, and where there
    are too few normal entries to find a threshold."""
    logs = [read_log(path) for path in data]
    if len({log.kind for log in logs}) > 1:
        raise ForjaError(
            "some of these files are of lines and some of sessions, which have figures of the same names.",
            where=", ".join(map(str, data)),
            fix="Give them one kind at a time.",
        )
    kind = logs[0].kind
    model, tokenizer = subject.language_model()
    notes: list[str] = []
    entries = chosen([entry for log in logs for entry in log.entries], notes, kind, seed=subject.seed)
    told = text_nats(model, tokenizer, [entry.text for entry in entries])
    scores = np.array([one.nats / max(1, one.tokens) for one in told])
    tested, threshold = set_apart(entries, scores, seed=subject.seed)
    kept, own = [entries[at] for at in tested], scores[tested]
    labels = np.array([entry.anomalous for entry in kept], np.int64)
    figures = named(kind, labels, own, threshold, subject.seed)
    if kind == "line":
        by_session = session_scores(kept, own)
        figures |= named("session", *by_session, threshold, subject.seed)
        notes.append(f"{len(by_session[0]):,} sessions of lines: the lines of a node are one.")
    predictions = [
        {
            "id": entry.id,
            "label": str(int(entry.anomalous)),
            "told": str(int(score >= threshold)),
            "score": float(score),
        }
        for entry, score in zip(kept, own, strict=True)
    ]
    details = {"quantile": QUANTILE, "threshold": None, "thresholds": {kind: threshold}, "notes": notes}
    return TaskResult("log-anomaly", "anomaly", len(kept), figures, details, predictions)


def named(kind: str, labels: npt.NDArray[np.int64], scores: Floats, threshold: float, seed: int) -> dict[str, Figure]:
    """The figures of lines or of sessions, under its name."""
    found = binary_figures(labels, scores, threshold, seed)
    return {f"{kind}.{name}": found[name] for name in TOLD if name in found}


def chosen(entries: Sequence[Entry], notes: list[str], kind: str, *, seed: int) -> list[Entry]:
    """MOST of the entries or a few more, in their order, whole sessions by a hash of their names."""
    if len(entries) <= MOST:
        return list(entries)
    names = [entry.session if kind == "line" else entry.id for entry in entries]
    sizes, picked, count = Counter(names), set(), 0
    for name in sorted(sizes, key=lambda name: _draw(name, seed)):
        if count >= MOST:
            break
        picked.add(name)
        count += sizes[name]
    notes.append(f"{count:,} of {len(entries):,} {kind}s are scored.")
    return [entry for entry, name in zip(entries, names, strict=True) if name in picked]


def set_apart(entries: Sequence[Entry], scores: Floats, *, seed: int) -> tuple[list[int], float]:
    """The places that are tested, and the threshold from the normal entries that are not."""
    apart = [at for at, entry in enumerate(entries) if not entry.anomalous and _draw(entry.id, seed) % APART == 0]
    if len(apart) < FEWEST_APART:
        raise ForjaError(
            f"{len(apart)} normal entries are too few to find a threshold.", fix="Give a log with more normal lines."
        )
    left = set(apart)
    return [at for at in range(len(entries)) if at not in left], float(np.quantile(scores[apart], QUANTILE))


def _draw(name: str, seed: int) -> int:
    """A number that is the name's own for this seed, whatever else there is."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
