"""What is known of a document in a run: where it came from, what was done to it, where it lies in the token shards,
and which checkpoints have trained on it. Taking it out again is in `erasure.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from forja.corpus.lineage import (
    Found,
    find_id,
    find_rows,
    forgotten_ids,
    in_first,
    placeholders,
    text_of,
    with_duplicates,
)
from forja.errors import ForjaError
from forja.pipeline import outputs_digest
from forja.recipe_file import load_recipe
from forja.run import Run, read_json
from forja.tokens.erase import Stretch, find_stretches, indexed_ids, shape_of, slots_of
from forja.tokens.loader import spread_slots
from forja.training.checkpoints import checkpoint_folder, list_checkpoints
from forja.training.exposure import FIRST_WEIGHTS, Use, judged_from, seen_by, uses_of

CHECKPOINTS = "checkpoints"
STATUS = {"documents": "kept", "quarantined": "quarantined", "rejected": "rejected"}


@dataclass(frozen=True)
class Training:
    """What decides which slots a training has read: finished in the run's folder, or unfinished in its workshop.

    counted: whether its first weights came of the whole training split; same_shards: whether it read the shards that
    are there now; if not, what it read cannot be told any more.
    """

    folder: Path
    seed: int
    batch: int
    steps: int
    valid_every: int
    valid_sequences: int
    best: int | None
    counted: bool
    same_shards: bool = True

    @property
    def checkpoints(self) -> list[int]:
        return list_checkpoints(self.folder / CHECKPOINTS)


@dataclass(frozen=True)
class Exposure:
    """uses: by epoch; judged_from: the first step whose validation looked at it; checkpoints: all of the training's, by
    step; counted: whether the first weights come of it too."""

    uses: list[Use]
    judged_from: int | None
    checkpoints: list[int]
    counted: bool = False

    @property
    def first(self) -> int | None:
        """The first batch that read it, `FIRST_WEIGHTS` where training began with it; None where nothing did."""
        if self.counted:
            return FIRST_WEIGHTS
        return self.uses[0].step if self.uses else None

    @property
    def seen(self) -> list[int]:
        """The checkpoints that have trained on it."""
        return seen_by(self.checkpoints, self.first)


def show(run_folder: Path, prefix: str) -> dict[str, Any]:
    """A document's row with its text (null where it was rejected) and its meta. Raises ForjaError."""
    found = _found(run_folder, prefix)
    row = {**found.row, "meta": json.loads(found.row["meta"] or "{}")}
    return {"status": _status(found), "text": text_of(run_folder / "corpus", found), **row}


def explain(run_folder: Path, prefix: str) -> dict[str, Any]:
    """All that is known of the document whose id begins so. Raises ForjaError where none or several do."""
    found = _found(run_folder, prefix)
    corpus, row = run_folder / "corpus", found.row
    text = text_of(corpus, found)
    stretches = find_stretches(run_folder / "tokens", [found.id])
    return {
        "id": found.id,
        **{name: row[name] for name in ("source", "origin", "licence", "date", "lang", "author")},
        "meta": json.loads(row["meta"] or "{}"),
        "status": _status(found),
        "reason": row["reason"],
        "detail": json.loads(row["detail"]) if row["detail"] else None,
        "duplicate_of": row["duplicate_of"],
        "flags": json.loads(row["flags"]) if row["flags"] else [],
        "bytes": found.size,
        "masked": placeholders(text) if text else {},
        "cluster": _cluster(corpus, found),
        "tokenizer": {"sampled": sampled_ids(run_folder, [found.id]) != set()},
        "tokens": _places(run_folder, stretches),
        "training": [_told(run_folder, training, stretches) for training in trainings(run_folder)],
    }


def _found(run_folder: Path, prefix: str) -> Found:
    corpus = require_corpus(run_folder)
    identity = find_id(corpus, prefix)
    rows = find_rows(corpus, [identity])
    # The same record met twice has a kept row and rejected ones.
    return min(rows, key=lambda found: list(STATUS).index(found.kind))


def require_corpus(run_folder: Path) -> Path:
    """The run's corpus folder. Raises ForjaError where nothing was collected yet."""
    corpus = run_folder / "corpus"
    if not (corpus / "receipt.json").is_file():
        raise ForjaError("this run has no corpus yet.", where=str(run_folder), fix="Run it first.")
    return corpus


def known_id(run_folder: Path, prefix: str) -> str:
    """The one id that begins so, in corpus, token shards, or the list of what was forgotten. Raises ForjaError."""
    prefix = prefix.strip().lower()
    others = {identity for identity in forgotten_ids(run_folder) if identity.startswith(prefix)}
    return find_id(require_corpus(run_folder), prefix, others | indexed_ids(run_folder / "tokens", prefix))


def _status(found: Found) -> str:
    return "forgotten" if found.row["reason"] == "forgotten" else STATUS[found.kind]


def _cluster(corpus: Path, found: Found) -> dict[str, Any] | None:
    if not found.row["cluster"]:
        return None
    members = [
        {"id": member.id, "status": _status(member), "reason": member.row["reason"]}
        for member in with_duplicates(corpus, [found.id])
        if member.id != found.id
    ]
    return {"id": found.row["cluster"], "others": members}


# --- tokenizer and tokens --------------------------------------------------------------------------


def sampled_ids(run_folder: Path, ids: Collection[str]) -> set[str]:
    """Those of these documents that the run's tokenizer was trained on: it takes the first of the corpus."""
    receipt = read_json(run_folder / "tokenizer" / "receipt.json")
    if receipt is None:
        return set()
    sample = receipt["plan"]["recipe"]["tokenizer"]["sample_bytes"]
    return in_first(run_folder / "corpus", ids, sample)


def _places(run_folder: Path, stretches: list[Stretch]) -> list[dict[str, Any]]:
    shape = shape_of(run_folder / "tokens")
    places = []
    for stretch in stretches if shape else ():
        slots = slots_of([stretch], shape) if shape else np.zeros(0, np.int64)
        ends = [int(slots[0]), int(slots[-1])] if len(slots) else []
        place = {"split": stretch.split, "start": stretch.start, "length": stretch.length}
        places.append({**place, "slots": ends})
    return places


# --- checkpoints -----------------------------------------------------------------------------------


def trainings(run_folder: Path) -> list[Training]:
    """The finished training and the one in the making, of those that are there."""
    return [training for training in (_finished(run_folder), unfinished_training(run_folder)) if training]


def _finished(run_folder: Path) -> Training | None:
    receipt = read_json(run_folder / "training" / "receipt.json")
    result = read_json(run_folder / "training" / "result.json")
    if receipt is None or result is None:
        return None
    recipe = receipt["plan"]["recipe"]
    found = _training(run_folder, recipe["seed"], recipe["training"], result["steps"], result["best_step"])
    tokens = read_json(run_folder / "tokens" / "receipt.json")
    same = tokens is not None and receipt["plan"]["inputs"]["tokens"] == outputs_digest(tokens)
    return replace(found, same_shards=same)


def unfinished_training(run_folder: Path) -> Training | None:
    """A training that was stopped: it has read what its last checkpoint has; steps after it will be made again."""
    place = Run(run_folder).building("pretrain")
    steps = list_checkpoints(place / CHECKPOINTS)
    if not steps:
        return None
    recipe, _ = load_recipe(str(run_folder / "recipe.yaml"))
    return _training(place, recipe.seed, recipe.training.model_dump(mode="json"), steps[-1], None)


def _training(folder: Path, seed: int, section: dict[str, Any], steps: int, best: int | None) -> Training:
    batch = section["batch"]
    if batch == "auto":
        batch = (read_json(folder / "training" / "resolved.json") or {})["resolved"]["batch"]
    counted = section.get("first_weights") == "bigrams"
    return Training(folder, seed, batch, steps, section["valid_every"], section["valid_sequences"], best, counted)


def exposure_of(run_folder: Path, training: Training, stretches: Collection[Stretch]) -> Exposure:
    """When this training read or judged by any token of these stretches; from its first step on where that cannot be
    told, so that nothing that may have learned of them passes for sound."""
    shape = shape_of(run_folder / "tokens")
    if not training.same_shards:
        return Exposure([Use(0, 0, training.steps)], None, training.checkpoints)
    if shape is None:
        return Exposure([], None, [])
    read, judged = (slots_of([s for s in stretches if s.split == split], shape) for split in ("train", "valid"))
    uses = uses_of(
        read, sequences=shape.sequences["train"], batch=training.batch, seed=training.seed, steps=training.steps
    )
    looked = spread_slots(shape.sequences["valid"], training.valid_sequences)
    judging = judged_from(judged, looked, training.valid_every, training.steps)
    # A stretch in no whole sequence is counted all the same.
    counted = training.counted and any(stretch.split == "train" for stretch in stretches)
    return Exposure(uses, judging, training.checkpoints, counted)


def _told(run_folder: Path, training: Training, stretches: list[Stretch]) -> dict[str, Any]:
    exposure = exposure_of(run_folder, training, stretches)
    return {
        "finished": training.best is not None,
        "same_shards": training.same_shards,
        "steps": training.steps,
        "first_weights": exposure.counted,
        "uses": [asdict(use) for use in exposure.uses],
        "checkpoints": [
            checkpoint_folder(training.folder / CHECKPOINTS, step).relative_to(run_folder).as_posix()
            for step in exposure.seen
        ],
        "model": training.best in exposure.seen and (run_folder / "model").is_dir(),
        "judged_from": exposure.judged_from,
    }
