"""The loader's batches depend on the seed and the step alone, and an epoch reads every slot exactly once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.errors import ForjaError
from forja.tokens.loader import Batches, TokenSplit, permute, places_of, sequences_in


def split(tokens: int, context: int = 4, overlap: int = 0, shard: int = 1000) -> TokenSplit:
    """A stream 0, 1, 2, ... so that a token says where it stands."""
    ids = np.arange(tokens, dtype=np.uint16)
    return TokenSplit([ids[at : at + shard] for at in range(0, tokens, shard)], context, overlap, vocabulary=65536)


@given(size=st.integers(1, 3000), key=st.text(max_size=8))
def test_the_permutation_hits_every_slot_once(size: int, key: str) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


@given(size=st.integers(1, 3000), key=st.text(max_size=8))
def test_the_place_of_a_slot_is_found_again(size: int, key: str) -> None:
    everything = np.arange(size)
    assert np.array_equal(places_of(permute(everything, size, key), size, key), everything)


def test_the_permutation_never_changes_between_versions() -> None:
    # A checkpoint resumed by a later version must go on with the same batches.
    assert permute(np.arange(10), 10, "1337:0").tolist() == [3, 4, 6, 1, 7, 5, 9, 0, 2, 8]


def test_the_permutation_mixes_well() -> None:
    order = permute(np.arange(10_000), 10_000, "7:0")
    assert abs(np.corrcoef(np.arange(10_000), order)[0, 1]) < 0.05
    assert (np.diff(order) == 1).mean() < 0.01
    assert (order == permute(np.arange(10_000), 10_000, "7:1")).mean() < 0.01


@settings(max_examples=40)
@given(
    sequences=st.integers(1, 60),
    batch=st.integers(1, 17),
    world=st.integers(1, 9),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_number_of_ranks_reads_every_sequence_once_an_epoch(
    sequences: int, batch: int, world: int, seed: int
) -> None:
    batches = Batches(split(sequences * 4 + 1), batch_size=batch, seed=seed)
    steps = -(-3 * sequences // batch)
    seen = np.concatenate(
        [batches.global_batch(step, rank, world).slots.numpy() for step in range(steps) for rank in range(world)]
    )
    for epoch in range(3):
        mine = seen[epoch * sequences : (epoch + 1) * sequences]
        assert np.array_equal(np.sort(mine), np.arange(sequences))


@given(step=st.integers(0, 10**9), world=st.integers(1, 9))
def test_a_batch_depends_on_seed_and_step_alone(step: int, world: int) -> None:
    whole = Batches(split(401), batch_size=8, seed=3).global_batch(step)
    again = Batches(split(401, shard=7), batch_size=8, seed=3)
    slices = [again.global_batch(step, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate([piece.inputs for piece in slices]), whole.inputs)
    assert np.array_equal(np.concatenate([piece.targets for piece in slices]), whole.targets)


def test_targets_are_the_inputs_one_token_on() -> None:
    batch = Batches(split(401), batch_size=5, seed=0).global_batch(2)
    assert batch.inputs.shape == batch.targets.shape == (5, 4)
    assert batch.weights is None
    assert np.array_equal(batch.targets, batch.inputs + 1)
    assert np.array_equal(batch.inputs[:, 0], batch.slots * 4)


@given(tokens=st.integers(0, 200), context=st.integers(1, 20), data=st.data())
def test_slots_cover_the_stream_and_overlap_as_told(tokens: int, context: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    made = split(tokens, context, overlap, shard=13)
    assert made.sequences == sequences_in(tokens, context, overlap)
    for number in range(made.sequences):
        start = number * (context - overlap)
        assert np.array_equal(made.slot(number), np.arange(start, start + context + 1))
    # What is left over is less than one more sequence would take.
    assert made.sequences * (context - overlap) + context + 1 > tokens


@given(data=st.data())
def test_reading_across_shards_is_reading_one(data: st.DataObject) -> None:
    made = split(100, shard=data.draw(st.integers(1, 100)))
    start = data.draw(st.integers(0, 99))
    length = data.draw(st.integers(1, 100 - start))
    assert np.array_equal(made.read(start, length), np.arange(start, start + length))


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (99, 2), (100, 1), (0, 0)])
def test_reading_beyond_the_stream_is_an_error(start: int, length: int) -> None:
    with pytest.raises(IndexError):
        split(100).read(start, length)


def test_a_split_without_a_whole_sequence_is_refused() -> None:
    with pytest.raises(ForjaError, match="less than one sequence of 5"):
        Batches(split(4), batch_size=1, seed=0)


def test_a_missing_or_shortened_shard_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no tokens here"):
        TokenSplit.open(tmp_path, "train")
    meta = {"dtype": "uint16", "vocabulary": 9, "context": 4, "overlap": 0, "splits": {"train": {"tokens": 10}}}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    np.arange(10, dtype=np.uint16).tofile(tmp_path / "train-00000.bin")
    assert TokenSplit.open(tmp_path, "train").sequences == 2
    np.arange(9, dtype=np.uint16).tofile(tmp_path / "train-00000.bin")
    with pytest.raises(ForjaError, match="hold 9 tokens and 10 are due"):
        TokenSplit.open(tmp_path, "train")
    (tmp_path / "train-00000.bin").write_bytes(b"")
    with pytest.raises(ForjaError, match="hold 0 tokens"):
        TokenSplit.open(tmp_path, "train")
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(ForjaError, match=r"meta\.json cannot be read"):
        TokenSplit.open(tmp_path, "train")
