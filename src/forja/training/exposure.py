"""Which checkpoints have trained on given slots, and the mark on those that trained on what was since forgotten.

A batch is a pure function of (seed, step), so this is computed, not recorded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from forja.run import read_json, write_json_atomic
from forja.tokens.loader import Ids, places_of
from forja.training.checkpoints import best_before, checkpoint_folder, list_checkpoints

FIRST_WEIGHTS = -1
"""Stands for the first batch that read something where the weights that training began with came of it."""
MARK = "stale.json"
"""Lies in what must be made again: it goes when that is replaced."""


@dataclass(frozen=True)
class Use:
    """In epoch `epoch`, slots are first read by the batch at `step` (from 0), and by `steps` batches in all."""

    epoch: int
    step: int
    steps: int


def uses_of(slots: Ids, *, sequences: int, batch: int, seed: int, steps: int) -> list[Use]:
    """When the first `steps` batches read any of these slots, an entry an epoch that does.

    sequences: in the training split; batch: sequences a step. The checkpoint of step n has trained on the batches
    at 0 to n - 1, so it has seen them if n is greater than the first entry's step.
    """
    if not len(slots) or steps < 1:
        return []
    found = []
    for epoch in range((steps * batch - 1) // sequences + 1):
        places = epoch * sequences + places_of(slots, sequences, f"{seed}:{epoch}")
        at = np.unique(places // batch)
        at = at[at < steps]
        if len(at):
            found.append(Use(epoch, int(at[0]), len(at)))
    return found


def seen_by(checkpoints: list[int], first: int | None) -> list[int]:
    """Those of the checkpoints' steps that have trained on a batch at `first` (from 0); none where it is None."""
    return [] if first is None else [step for step in checkpoints if step > first]


def judged_from(slots: Ids, judged: Ids, valid_every: int, steps: int) -> int | None:
    """The first step after which a validation over the slots `judged` looked at any of `slots`; None if none did.

    No weights come of a validation, but the best checkpoint and an early stop do.
    """
    looked = len(np.intersect1d(slots, judged)) > 0
    return min(valid_every, steps) if looked and steps else None


# --- the mark -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stale:
    """documents: how many forgotten ones were used; trained_from: the first batch (from 0) that read one, or
    FIRST_WEIGHTS; judged_from: the first step whose validation did; steps: the checkpoints that have trained on one."""

    documents: int
    trained_from: int | None = None
    judged_from: int | None = None
    steps: tuple[int, ...] = ()


def read_mark(folder: Path) -> Stale | None:
    """The mark on the checkpoints, the model or the tokenizer in `folder`; None where nothing in it is stale."""
    found = read_json(folder / MARK)
    return None if found is None else Stale(**{**found, "steps": tuple(found["steps"])})


def write_mark(folder: Path, stale: Stale) -> None:
    write_json_atomic(folder / MARK, asdict(stale))


def mark_export(checkpoint: Path, folder: Path) -> None:
    """Carry the mark over to the model in `folder`, if the checkpoint that it was made of is marked."""
    stale = read_mark(checkpoint.parent)
    if stale is not None and checkpoint in (checkpoint_folder(checkpoint.parent, step) for step in stale.steps):
        write_mark(folder, stale)


def joined(old: Stale | None, new: Stale) -> Stale:
    """Both marks in one."""
    if old is None:
        return new
    return Stale(
        old.documents + new.documents,
        _least(old.trained_from, new.trained_from),
        _least(old.judged_from, new.judged_from),
        tuple(sorted({*old.steps, *new.steps})),
    )


def _least(a: int | None, b: int | None) -> int | None:
    return min((step for step in (a, b) if step is not None), default=None)


def last_sound(folder: Path, stale: Stale) -> int:
    """The last checkpoint in `folder` that knows nothing of what was forgotten, neither by training nor by validation,
    and whose best one is still there; 0: training starts again from the first step."""
    steps = list_checkpoints(folder)
    for step in reversed(steps):
        trained = stale.trained_from is not None and step > stale.trained_from
        judged = stale.judged_from is not None and step >= stale.judged_from
        if not trained and not judged and best_before(folder, step) in (-1, *steps):
            return step
    return 0
