"""Which checkpoints have trained on what, computed from the seed, is what the loader really read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.tokens.loader import Batches, TokenSplit
from forja.training.checkpoints import list_checkpoints, prune_checkpoints
from forja.training.exposure import (
    Stale,
    Use,
    joined,
    judged_from,
    last_sound,
    read_mark,
    seen_by,
    uses_of,
    write_mark,
)


@settings(max_examples=60)
@given(
    sequences=st.integers(1, 50),
    batch=st.integers(1, 9),
    steps=st.integers(0, 40),
    seed=st.integers(0, 2**63 - 1),
    data=st.data(),
)
def test_the_uses_told_are_those_of_the_loader(
    sequences: int, batch: int, steps: int, seed: int, data: st.DataObject
) -> None:
    slots = np.array(sorted(data.draw(st.sets(st.integers(0, sequences - 1), max_size=6))), np.int64)
    split = TokenSplit([np.zeros(sequences * 4 + 1, np.uint16)], 4, 0, 16)
    batches = Batches(split, batch_size=batch, seed=seed)
    read: dict[int, set[int]] = {}
    for step in range(steps):
        for place, slot in enumerate(batches.places_at(step)[1].tolist()):
            if slot in slots:
                read.setdefault((step * batch + place) // sequences, set()).add(step)
    told = uses_of(slots, sequences=sequences, batch=batch, seed=seed, steps=steps)
    assert told == [Use(epoch, min(at), len(at)) for epoch, at in sorted(read.items())]


def test_a_checkpoint_has_seen_the_batches_before_its_step() -> None:
    # The checkpoint of step 10 has trained on the batches at 0 to 9.
    assert seen_by([5, 10, 11, 20], first=10) == [11, 20]
    assert seen_by([5, 10], first=None) == []


def test_a_validation_knows_of_the_slots_it_looks_at_from_the_first_one_on() -> None:
    judged = np.array([0, 4, 8])
    assert judged_from(np.array([3, 4]), judged, valid_every=10, steps=60) == 10
    assert judged_from(np.array([4]), judged, valid_every=100, steps=60) == 60
    assert judged_from(np.array([3]), judged, valid_every=10, steps=60) is None
    assert judged_from(np.array([4]), judged, valid_every=10, steps=0) is None


def checkpoints(folder: Path, best: dict[int, int]) -> Path:
    """Folders as checkpoints have them: step to the best step of its time."""
    for step, known in best.items():
        place = folder / f"step-{step:08d}"
        place.mkdir(parents=True)
        (place / "state.json").write_text(json.dumps({"step": step, "best_step": known}))
    return folder


def test_training_goes_on_from_the_last_checkpoint_that_knows_nothing(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, {10: 10, 20: 20, 30: 30, 40: 40})
    assert last_sound(folder, Stale(1, trained_from=25)) == 20
    assert last_sound(folder, Stale(1, trained_from=30)) == 30
    assert last_sound(folder, Stale(1, trained_from=29)) == 20
    assert last_sound(folder, Stale(1, trained_from=9)) == 0
    assert last_sound(folder, Stale(1, trained_from=35, judged_from=20)) == 10


def test_training_does_not_go_on_from_where_the_best_of_the_time_is_missing(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, {10: -1, 20: 15, 30: 15})
    assert last_sound(folder, Stale(1, trained_from=25)) == 10


def test_the_ladder_keeps_its_rungs_and_the_best_of_their_time(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path, {5: 5, 10: 5, 15: 15, 20: 15, 25: 25, 30: 25, 35: 25, 40: 40})
    prune_checkpoints(folder, keep_last=1, best=40, keep_every=10)
    assert list_checkpoints(folder) == [5, 10, 15, 20, 25, 30, 40]


def test_marks_are_kept_and_joined(tmp_path: Path) -> None:
    assert read_mark(tmp_path) is None
    write_mark(tmp_path, Stale(2, trained_from=30, judged_from=None, steps=(40, 50)))
    both = joined(read_mark(tmp_path), Stale(1, trained_from=12, judged_from=10, steps=(20, 40)))
    assert both == Stale(3, 12, 10, (20, 40, 50))
    assert joined(None, both) == both
