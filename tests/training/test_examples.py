"""Batches of examples: a pure function of the seed and the step, however many processes share them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.examples.layouts import Example
from forja.errors import ForjaError
from forja.recipe import FinetuneSection
from forja.training.examples import STRIDE, ExampleBatches, Labelled, Sequences, padded, shifted
from forja.training.task_data import example_weights, reweighing


def texts(count: int, *, dropout: float = 0.0) -> Labelled:
    source = np.random.default_rng(3)
    tokens = [[number, *source.integers(1, 9, source.integers(1, 40)).tolist(), 99] for number in range(count)]
    return Labelled(tokens, np.arange(count, dtype=np.int64) % 2, np.ones(count), room=64, dropout=dropout)


@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 5))
def test_an_epoch_reads_no_example_twice(count: int, batch: int, seed: int) -> None:
    batches = ExampleBatches(texts(count), batch_size=batch, seed=seed)
    read = [int(row[0]) for step in range(batches.an_epoch) for row in batches.global_batch(step).tokens]
    assert len(read) == len(set(read)) == batches.an_epoch * min(batch, count)
    assert count - len(read) < batch


@given(st.integers(0, 40), st.sampled_from([1, 2, 4]))
def test_processes_share_one_global_batch(step: int, world: int) -> None:
    batches = ExampleBatches(texts(50, dropout=0.3), batch_size=8, seed=1)
    whole = batches.global_batch(step)
    parts = [batches.global_batch(step, rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    said = [row[mask].tolist() for part in parts for row, mask in zip(part.tokens, part.mask, strict=True)]
    assert said == [row[mask].tolist() for row, mask in zip(whole.tokens, whole.mask, strict=True)]


def test_a_step_reads_the_same_whatever_came_before() -> None:
    one, two = (ExampleBatches(texts(50, dropout=0.3), batch_size=8, seed=1) for _ in range(2))
    for step in (3, 17, 4):
        two.global_batch(step)
    assert torch.equal(one.global_batch(17).tokens, two.global_batch(17).tokens)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    batches = ExampleBatches(texts(48), batch_size=8, seed=1)
    orders = [
        [int(row[0]) for step in range(6) for row in batches.global_batch(epoch * 6 + step).tokens]
        for epoch in range(2)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(48))
    assert not torch.equal(
        batches.global_batch(0).labels, ExampleBatches(texts(48), batch_size=8, seed=2).global_batch(0).labels
    ) or not torch.equal(
        batches.global_batch(0).tokens, ExampleBatches(texts(48), batch_size=8, seed=2).global_batch(0).tokens
    )


def test_dropped_tokens_are_never_the_ends_and_never_dropped_in_validation() -> None:
    examples = texts(30, dropout=0.9)
    thinned = ExampleBatches(examples, batch_size=30, seed=1).global_batch(0)
    whole = examples.batch(np.arange(30))
    assert thinned.mask.sum() < whole.mask.sum()
    for row, mask in zip(thinned.tokens, thinned.mask, strict=True):
        assert int(row[mask][-1]) == 99
    assert whole.mask.sum() == int(examples.lengths.sum())


def test_padding_goes_to_the_stride_and_not_beyond_the_room() -> None:
    rows = [np.arange(5), np.arange(9)]
    assert padded(rows)[0].shape == (2, 9)
    assert padded(rows, room=64)[0].shape == (2, STRIDE)
    assert padded(rows, room=12)[0].shape == (2, 12)


def test_only_counted_tokens_are_targets() -> None:
    inputs, targets = shifted([np.array([5, 6, 7, 8])], [np.array([False, False, True, True])])
    assert inputs.tolist() == [[5, 6, 7]]
    assert targets.tolist() == [[-1, 7, 8]]
    batch = Sequences([[5, 6, 7], [8, 9]], [[False, True, True], [False, True]]).batch(np.array([0, 1]))
    assert batch.targets.tolist() == [[6, 7], [9, -1]]


def test_balanced_classes_weigh_the_same() -> None:
    aims = np.array([0] * 9 + [1])
    weights = example_weights(FinetuneSection(class_weights="balanced"), [Example("x")] * 10, aims, 2)
    assert weights[:9].sum() == pytest.approx(weights[9:].sum())
    assert weights.mean() == pytest.approx(1)


def test_reweighing_makes_label_and_group_independent() -> None:
    groups = ["a"] * 6 + ["b"] * 6
    aims = np.array([1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0])
    weights = reweighing(groups, aims)
    shares = [
        weights[(aims == 1) & (np.array(groups) == name)].sum() / weights[np.array(groups) == name].sum()
        for name in "ab"
    ]
    assert shares[0] == pytest.approx(shares[1])
    section = FinetuneSection(fair_by="region")
    rows = [Example(str(at), groups={"region": name}) for at, name in enumerate(groups)]
    assert example_weights(section, rows, aims, 2) == pytest.approx(weights)
    with pytest.raises(ForjaError, match="no column 'region'"):
        example_weights(section, [Example("x", groups={"lang": "en"})], np.array([0]), 2)
