"""Scores any labelled texts with a fine-tuned classifier, beside a baseline trained on the same examples.

Of two labels the positive one is told from a threshold up, which comes from validation data; for files of another
origin it is adapted without looking at their labels. Of more labels the likeliest is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.privacy import mask
from forja.errors import ForjaError
from forja.evaluation.against_baseline import Ground, beside
from forja.evaluation.classifier import CALIBRATION, positive_label
from forja.evaluation.fairness import before_and_after, fairness, large_groups
from forja.evaluation.labelled import (
    GROUP_COLUMNS,
    Kept,
    Labelled,
    match_label,
    read_labelled,
    split_labelled,
    without_seen,
)
from forja.evaluation.scores import confusion
from forja.evaluation.task import Subject, TaskResult
from forja.evaluation.told import Rule, Told
from forja.recipe import Privacy
from forja.run import read_json
from forja.training.task_data import reweighing

SEEN = ("train", "valid")
"""Splits whose texts the classifier has seen."""
DECIDED = ("f1", "precision", "recall", "accuracy", "false_positive_rate")
MOST_WRONG = 12
EXCERPT = 300
MASKED = 4000
"""Characters of a text that are masked before the excerpt is cut, so that no address is cut in two."""
MOST_GROUPS = 50

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def evaluate(subject: Subject, data: Sequence[Path]) -> TaskResult:
    """Of labelled files, which are taken to be of another origin than the training examples. Raises ForjaError for
    files that hold no labelled texts, or none that the classifier has not seen."""
    examples, names = subject.folder / "examples", subject.classifier().labels
    kept = without_seen(read_labelled(data, names), _seen(examples, names))
    return evaluate_examples(subject, kept, examples, adapt=True)


def evaluate_split(subject: Subject, examples: Path, split: str = "test") -> TaskResult:
    """Of one split of the run's own examples, at the threshold of its validation data. Raises ForjaError."""
    names = subject.classifier().labels
    kept = without_seen(Kept(split_labelled(examples, split, names), {}), _seen(examples, names, but=split))
    return evaluate_examples(subject, kept, examples, adapt=False)


def _seen(examples: Path, names: Sequence[str], *, but: str | None = None) -> list[Labelled]:
    return [row for split in SEEN if split != but for row in split_labelled(examples, split, names)]


def evaluate_examples(subject: Subject, kept: Kept, examples: Path, *, adapt: bool) -> TaskResult:
    """Figures, curves, groups, fairness and the worst mistakes, as one result.

    examples: the folder whose train.parquet the baseline is trained on, where there is one. adapt: find the threshold
    from the scores of the rows, not from validation data alone. Raises ForjaError.
    """
    rows, seed, classifier = kept.rows, subject.seed, subject.classifier()
    if not rows:
        reasons = "; ".join(f"{count:,}: {reason}" for reason, count in kept.removed.items())
        raise ForjaError(
            f"no row is left to measure on ({reasons or 'there were none'}).",
            fix="Give texts that were not trained on.",
        )
    names, texts = classifier.labels, [row.text for row in rows]
    labels = np.array([row.label for row in rows], np.int64)
    scores = np.asarray(classifier.scores(texts), np.float64)
    if not np.isfinite(scores).all():
        raise ForjaError("the classifier's scores are no numbers.", where=str(subject.folder), fix="Train it anew.")
    rule = _rule(subject.folder, names, adapt)
    threshold, origin = rule.threshold(scores)
    told = Told(labels, scores, rule.positive, threshold)
    notes = _missing_labels(told, names)
    details: dict[str, Any] = {
        "labels": names,
        "positive": None if rule.positive is None else names[rule.positive],
        "confusion": confusion(labels, told.decided, len(names)).tolist(),
        "threshold": threshold,
        "threshold_from": origin,
        "curves": told.curves(),
        "groups": _sources(rows, told, seed, notes),
        "removed": kept.removed,
        "wrong": _wrong(rows, told, names),
        "notes": notes,
    }
    if adapt and rule.known is not None:
        plain = Told(labels, scores, rule.positive, rule.known)
        details["unadapted"] = {"threshold": rule.known, "figures": plain.figures(seed, only=DECIDED)}
    ground = Ground.of(examples, names)
    baseline = _baseline(ground, texts, labels, rule, seed, notes)
    if baseline is not None:
        details["baseline"] = beside(told, *baseline, seed)
    found = _fairness(rows, told, None if baseline is None else baseline[0], ground, rule, seed, notes)
    if found:
        details["fairness"], *others = found
        details["fairness_others"] = others
    predictions = _predictions(rows, told, names)
    return TaskResult("classification", "classification", len(rows), told.figures(seed), details, predictions)


def _rule(folder: Path, names: Sequence[str], adapt: bool) -> Rule:
    """As the run's model keeps it in classification.json, where it does."""
    kept = read_json(folder / "model" / CALIBRATION) or {}
    if len(names) != 2:
        return Rule(None)
    positive = match_label(kept.get("positive") or positive_label(names), names)
    validation, known = kept.get("validation"), kept.get("threshold")
    scores = None
    if validation and validation["scores"]:
        scores = np.array(validation["scores"], np.float64), np.array(validation["labels"], np.int64)
    return Rule(positive, None if known is None else float(known), scores, adapt)


def _missing_labels(told: Told, names: Sequence[str]) -> list[str]:
    missing = [name for place, name in enumerate(names) if not (told.labels == place).any()]
    if not missing:
        return []
    named = ", ".join(map(repr, missing))
    left_out = "; figures that need both labels, such as AUROC, are left out" if told.positive is not None else ""
    return [f"No row has the label {named}{left_out}."]


def _baseline(
    ground: Ground | None, texts: Sequence[str], labels: Ints, rule: Rule, seed: int, notes: list[str]
) -> tuple[Told, str] | None:
    if ground is None:
        notes.append("There is no baseline: the run keeps no training examples.")
        return None
    try:
        return ground.told(texts, labels, rule, seed)
    except ForjaError as error:
        notes.append(f"There is no baseline: {error.what}")
        return None


def _sources(rows: Sequence[Labelled], told: Told, seed: int, notes: list[str]) -> dict[str, Any]:
    """Figures a source, the largest first; of MOST_GROUPS at most."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.source:
            places.setdefault(row.source, []).append(place)
    if not places:
        return {}
    largest = sorted(places.items(), key=lambda source: -len(source[1]))
    if len(largest) > MOST_GROUPS:
        notes.append(f"Of {len(largest):,} sources the {MOST_GROUPS} largest are told.")
    only = (*DECIDED, "auroc")
    return {
        "source": {
            name: {"items": len(members), **told.part(members).figures(seed, only=only)}
            for name, members in largest[:MOST_GROUPS]
        }
    }


def _fairness(
    rows: Sequence[Labelled],
    told: Told,
    baseline: Told | None,
    ground: Ground | None,
    rule: Rule,
    seed: int,
    notes: list[str],
) -> list[dict[str, Any]]:
    """Of each column that names two groups or more; none where that cannot be measured, which the notes say."""
    found = []
    for column in GROUP_COLUMNS:
        groups = [row.groups.get(column, "") for row in rows]
        if len(large_groups(groups)) < 2:
            continue
        if told.positive is None:
            notes.append(f"Fairness over {column} is not measured: it is of a positive label, and there are several.")
            continue
        try:
            measured = fairness(column, groups, told.hits, told.alarms, told.certainty, seed)
        except ForjaError as error:
            notes.append(f"Fairness over {column} is not measured: {error}")
            continue
        if baseline is not None and ground is not None and all(row.groups.get(column) for row in ground.training):
            texts = [row.text for row in rows]
            measured["mitigated"]["reweighing"] = _reweighed(texts, groups, baseline, ground, column, rule, seed)
        found.append(measured)
    return found


def _reweighed(
    texts: Sequence[str], groups: Sequence[str], baseline: Told, ground: Ground, column: str, rule: Rule, seed: int
) -> dict[str, Any]:
    """The baseline without and with training weights that part label and group; the classifier is not trained anew."""
    weights = reweighing(
        [row.groups[column] for row in ground.training], np.array([row.label for row in ground.training], np.int64)
    )
    after, _ = ground.told(texts, baseline.labels, rule, seed, weights=weights)
    large = np.flatnonzero(np.isin(groups, large_groups(groups))).tolist()
    names = np.array(groups, dtype=object)[large]
    before, after = baseline.part(large), after.part(large)
    return {
        "of": "the baseline",
        "items": len(large),
        **before_and_after(names, before.hits, before.alarms, after.alarms, seed),
    }


def _wrong(rows: Sequence[Labelled], told: Told, names: Sequence[str]) -> list[dict[str, Any]]:
    """The mistakes it was surest of, with personal data masked."""
    decided = told.decided
    sure = told.certainty if told.threshold is None else np.abs(told.certainty - told.threshold)
    wrong = np.flatnonzero(decided != told.labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MOST_WRONG]
    policy = Privacy(ip=True)
    return [
        {
            "text": mask(rows[place].text[:MASKED], policy).text[:EXCERPT],
            "label": names[told.labels[place]],
            "told": names[decided[place]],
            "score": float(told.certainty[place]),
            "source": rows[place].source,
        }
        for place in worst.tolist()
    ]


def _predictions(rows: Sequence[Labelled], told: Told, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"id": row.id, "label": names[row.label], "told": names[decided], "score": score, "source": row.source}
        for row, decided, score in zip(rows, told.decided.tolist(), told.certainty.tolist(), strict=True)
    ]
