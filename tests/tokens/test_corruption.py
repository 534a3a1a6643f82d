"""What the objectives hide of a sequence: as much as the papers say, the same for every rank, and given back whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.errors import ForjaError
from forja.recipe import TokenizerSection, TokensSection
from forja.tokens.bpe import load_tokenizer, train_tokenizer
from forja.tokens.corruption import (
    HELD_OUT,
    Controls,
    Corrupted,
    Hiding,
    PairBatch,
    corrupted,
    objective_batches,
    objective_slots,
    read_controls,
    span_shape,
)
from forja.tokens.loader import Batch, Batches, TokenSplit, read_slots
from forja.tokens.pack import pack_tokens
from forja.training.rules import micro_batches
from made import sentences, write_documents

CONTROLS = Controls(pad=1, mask=2, first_sentinel=64, sentinels=100, first_ordinary=164, vocabulary=1000)
OBJECTIVES: tuple[Hiding, ...] = ("masked", "span-corruption", "prefix")
END = 0
seeds = st.integers(0, 2**63 - 1)
contexts = st.integers(8, 90)


def split(context: int, sequences: int = 6, overlap: int = 0, gaps: list[tuple[int, int]] | None = None) -> TokenSplit:
    """Ordinary tokens with an end of text in about one place of ten; erased stretches are ends of text too."""
    draw = np.random.default_rng(context)
    ids = draw.integers(CONTROLS.first_ordinary, CONTROLS.vocabulary, sequences * (context - overlap) + context + 1)
    ids[draw.random(len(ids)) < 0.1] = END
    found = np.array(gaps or [], np.int64).reshape(-1, 2)
    for start, length in found.tolist():
        ids[start : start + length] = END
    return TokenSplit([ids.astype(np.uint16)], context, overlap, CONTROLS.vocabulary, gaps=found)


def sequence(made: TokenSplit, slot: int) -> list[int]:
    tokens: list[int] = made.slot(slot)[:-1].tolist()
    return tokens


def masked(made: TokenSplit, slots: list[int], seed: int = 0, epoch: int = 0) -> Batch:
    batch = hidden(made, slots, "masked", seed, epoch)
    assert isinstance(batch, Batch)
    return batch


def pairs(made: TokenSplit, slots: list[int], objective: Hiding, seed: int = 0) -> PairBatch:
    batch = hidden(made, slots, objective, seed)
    assert isinstance(batch, PairBatch)
    return batch


def hidden(made: TokenSplit, slots: list[int], objective: Hiding, seed: int = 0, epoch: int = 0) -> Batch | PairBatch:
    where = np.array(slots, np.int64)
    return corrupted(made, np.full_like(where, epoch), where, objective, CONTROLS, seed=seed)


def same(one: Batch | PairBatch, other: Batch | PairBatch) -> bool:
    def equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
        return a is b is None or (a is not None and b is not None and a.equal(b))

    return all(map(equal, one, other))


def joined(parts: list[Batch | PairBatch], like: Batch | PairBatch) -> Batch | PairBatch:
    def column(name: str) -> torch.Tensor | None:
        return None if getattr(like, name) is None else torch.cat([getattr(part, name) for part in parts])

    return like._replace(**{name: column(name) for name in like._fields})


# --- for every objective -----------------------------------------------------------------------


@settings(max_examples=40)
@given(step=st.integers(0, 10**9), batch=st.integers(1, 9), world=st.integers(1, 9), seed=seeds, data=st.data())
def test_what_a_batch_hides_depends_on_seed_and_step_alone(
    step: int, batch: int, world: int, seed: int, data: st.DataObject
) -> None:
    objective = data.draw(st.sampled_from(OBJECTIVES))
    whole = Corrupted(Batches(split(24), batch_size=batch, seed=seed), objective, CONTROLS).global_batch(step)
    again = Corrupted(Batches(split(24), batch_size=batch, seed=seed), objective, CONTROLS)
    assert same(joined([again.global_batch(step, rank, world) for rank in range(world)], whole), whole)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_size_of_a_batch_changes_no_sequence(objective: Hiding) -> None:
    large = Corrupted(Batches(split(24), batch_size=12, seed=3), objective, CONTROLS)
    small = Corrupted(Batches(split(24), batch_size=4, seed=3), objective, CONTROLS)
    whole = large.global_batch(1)
    assert same(joined([small.global_batch(step) for step in (3, 4, 5)], whole), whole)
    parts = list(micro_batches(whole, 5))
    assert [len(part.slots) for part in parts] == [5, 5, 2]
    assert same(joined(parts, whole), whole)


@pytest.mark.parametrize("objective", ["masked", "span-corruption"])
def test_another_epoch_slot_or_seed_hides_something_else(objective: Hiding) -> None:
    made = split(64)
    first = hidden(made, [0], objective)
    assert same(first, hidden(made, [0], objective))
    assert not first.inputs.equal(hidden(made, [0], objective, epoch=1).inputs)
    assert not first.inputs.equal(hidden(made, [0], objective, seed=1).inputs)
    repeated = TokenSplit([np.full(64 * 4 + 1, 500, np.uint16)], 64, 0, CONTROLS.vocabulary)
    one, other = (hidden(repeated, [slot], objective) for slot in (0, 1))
    assert not one.inputs.equal(other.inputs)


def test_what_is_hidden_never_changes_between_versions() -> None:
    # A checkpoint resumed by a later version must go on with the same batches.
    rising = TokenSplit([np.arange(200, 400, dtype=np.uint16)], 40, 0, CONTROLS.vocabulary)
    batch = masked(rising, [3], 1337, epoch=2)
    aimed = batch.targets[0] >= 0
    assert batch.targets[0, aimed].tolist() == [322, 327, 329, 344, 346, 353]
    assert batch.inputs[0, aimed].tolist() == [771, 240, 2, 2, 2, 2]
    assert pairs(rising, [3], "span-corruption", 1337).targets[0].tolist() == [64, 332, 333, 65, 356, 357, 358, 359, 66]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_erased_document_changes_no_other_sequence_and_weighs_nothing(objective: Hiding) -> None:
    context = 40
    before = split(context)
    after = split(context, gaps=[(2 * context + 5, 25)])
    erased = set(range(2 * context + 5, 2 * context + 30))
    for slot in range(after.sequences):
        old, new = (hidden(made, [slot], objective, seed=5) for made in (before, after))
        if slot != 2:
            assert same(old, new)
            assert new.weights is None
            continue
        held = [place + 2 * context not in erased for place in range(context)]
        assert counting(new) == counting(old, held)
        assert counting(new) < counting(old)


def counting(batch: Batch | PairBatch, held: list[bool] | None = None) -> int:
    """How many targets that are text count; `held`: those of the sequence that do."""
    weights = torch.ones(batch.targets.shape) if batch.weights is None else batch.weights
    ordinary = (batch.targets >= CONTROLS.first_ordinary) | (batch.targets == END)
    counted = (ordinary & (weights > 0))[0]
    if held is None:
        return int(counted.sum())
    places = hidden_places(batch)
    return sum(bool(counted[at]) and held[place] for at, place in places.items())


def hidden_places(batch: Batch | PairBatch) -> dict[int, int]:
    """Where each target that is text lies in the sequence, by its place among the targets."""
    targets = batch.targets[0].tolist()
    if isinstance(batch, Batch):
        return {at: at for at in range(len(targets))}
    source, found, place = batch.source[0].tolist(), {}, 0
    names = [at for at, target in enumerate(targets) if is_sentinel(target)]
    if not names:
        return {at: len(source) + at for at in range(len(targets))}
    for token in source:
        if not is_sentinel(token):
            place += 1
            continue
        number = token - CONTROLS.first_sentinel
        for at in range(names[number] + 1, names[number + 1]):
            found[at] = place
            place += 1
    return found


def is_sentinel(token: int) -> bool:
    return CONTROLS.first_sentinel <= token < CONTROLS.first_sentinel + CONTROLS.sentinels


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_sequence_erased_whole_counts_for_nothing(objective: Hiding) -> None:
    batch = hidden(split(40, gaps=[(80, 40)]), [2], objective)
    assert (batch.targets < 0).all() if batch.weights is None else not batch.weights.any()


# --- masked tokens -----------------------------------------------------------------------------


@given(context=contexts, seed=seeds)
def test_masked_targets_are_the_text_and_no_control_token_is_touched(context: int, seed: int) -> None:
    made = split(context)
    batch = masked(made, list(range(made.sequences)), seed)
    assert batch.inputs.shape == batch.targets.shape == (made.sequences, context)
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert batch.weights is None
    text = torch.tensor([sequence(made, slot) for slot in range(made.sequences)])
    aimed = batch.targets >= 0
    assert batch.targets[aimed].equal(text[aimed])
    assert (batch.targets[~aimed] == -1).all()
    assert (text[aimed] >= CONTROLS.first_ordinary).all()
    assert batch.inputs[~aimed].equal(text[~aimed])
    drawn = batch.inputs[aimed & (batch.inputs != CONTROLS.mask)]
    assert ((drawn >= CONTROLS.first_ordinary) & (drawn < CONTROLS.vocabulary)).all()
    assert (aimed.sum(1) <= max(1, round(0.15 * context))).all()


def test_of_fifteen_in_a_hundred_tokens_eighty_in_a_hundred_are_masked_and_ten_replaced() -> None:
    ids = np.random.default_rng(0).integers(164, 60_000, 400 * 100 + 1).astype(np.uint16)
    made = TokenSplit([ids], 100, 0, 60_000)
    where = np.arange(400)
    batch = corrupted(made, where * 0, where, "masked", CONTROLS._replace(vocabulary=60_000), seed=1)
    aimed = batch.targets >= 0
    assert (aimed.sum(1) == 15).all()
    inputs, targets = batch.inputs[aimed], batch.targets[aimed]
    assert (inputs == CONTROLS.mask).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (inputs == targets).float().mean() == pytest.approx(0.1, abs=0.015)
    drawn = inputs[(inputs != CONTROLS.mask) & (inputs != targets)]
    assert drawn.float().mean() == pytest.approx(30_000, rel=0.08)
    assert aimed.float().mean(0).std() < 0.03  # no place is preferred


# --- spans -------------------------------------------------------------------------------------


@given(context=st.integers(8, 300), seed=seeds, overlap=st.integers(0, 7))
def test_putting_the_spans_back_gives_the_sequence(context: int, seed: int, overlap: int) -> None:
    made = split(context, overlap=overlap)
    batch = pairs(made, list(range(made.sequences)), "span-corruption", seed)
    tokens, spans = span_shape(context, CONTROLS.sentinels)
    assert batch.source.shape == (made.sequences, context - tokens + spans)
    assert batch.inputs.shape == batch.targets.shape == (made.sequences, tokens + spans + 1)
    for slot, (source, targets) in enumerate(zip(batch.source.tolist(), batch.targets.tolist(), strict=True)):
        names = [at for at, target in enumerate(targets) if is_sentinel(target)]
        assert [targets[at] for at in names] == [CONTROLS.first_sentinel + n for n in range(spans + 1)]
        assert (names[0], names[-1]) == (0, len(targets) - 1)
        said = dict(zip([targets[at] for at in names], np.split(np.array(targets), names)[1:], strict=True))
        assert all(len(said[targets[at]]) > 1 for at in names[:-1])
        filled = [said[token][1:].tolist() if is_sentinel(token) else [token] for token in source]
        assert [token for piece in filled for token in piece] == sequence(made, slot)


@given(context=st.integers(8, 1 << 20), sentinels=st.integers(2, 100))
def test_spans_are_three_tokens_long_unless_the_sentinels_run_out(context: int, sentinels: int) -> None:
    tokens, spans = span_shape(context, sentinels)
    assert tokens / context == pytest.approx(0.15, abs=0.5 / context + 1e-9)
    assert 1 <= spans <= min(tokens, context - tokens, sentinels - 1)
    if spans < sentinels - 1:
        assert abs(tokens - 3 * spans) <= 2


def test_a_long_sequence_has_longer_spans() -> None:
    assert span_shape(512, 100) == (77, 26)
    assert span_shape(4096, 100) == (614, 99)
    batch = pairs(split(4096, sequences=1), [0], "span-corruption")
    assert int(batch.source.max()) < CONTROLS.vocabulary
    assert int(batch.targets[0, -1]) == CONTROLS.first_sentinel + 99


def test_every_way_to_cut_is_as_likely() -> None:
    # 40 tokens hide 6 in 2 spans: the first is 1 to 5 long, and the open text before it 1 to 33.
    made = TokenSplit([np.full(40 * 2000 + 1, 500, np.uint16)], 40, 0, CONTROLS.vocabulary)
    batch = pairs(made, list(range(2000)), "span-corruption")
    first = (batch.targets == CONTROLS.first_sentinel + 1).int().argmax(1) - 1
    assert np.bincount(first, minlength=6)[1:] == pytest.approx(400, abs=80)
    before = (batch.source == CONTROLS.first_sentinel).int().argmax(1)
    assert (int(before.min()), int(before.max())) == (1, 33)
    assert before.float().mean() == pytest.approx(17, abs=0.8)


# --- the second half -----------------------------------------------------------------------------


@given(context=contexts)
def test_the_second_half_is_predicted_from_the_first(context: int) -> None:
    made = split(context)
    batch = pairs(made, [4, 1], "prefix")
    for row, slot in enumerate((4, 1)):
        assert batch.source[row].tolist() + batch.targets[row].tolist() == sequence(made, slot)
    assert batch.source.shape == (2, context // 2)
    assert batch.slots.tolist() == [4, 1]


@given(context=contexts, objective=st.sampled_from(["span-corruption", "prefix"]), seed=seeds)
def test_the_decoder_reads_its_targets_one_token_late(context: int, objective: Hiding, seed: int) -> None:
    batch = pairs(split(context), [0, 3], objective, seed)
    assert (batch.inputs[:, 0] == CONTROLS.pad).all()
    assert batch.inputs[:, 1:].equal(batch.targets[:, :-1])


# --- tokens folders ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in ("corpus", "tokenizer", "tokens"):
        (folder / name).mkdir()
    write_documents(folder / "corpus", [sentences(seed, 3) for seed in range(100)])
    train_tokenizer(TokenizerSection(vocabulary=512), folder / "corpus", folder / "tokenizer")
    section = TokensSection(context=32, valid_fraction=0.1, test_fraction=0.1)
    pack_tokens(section, folder / "corpus", folder / "tokenizer", folder / "tokens", weights={})
    return folder


def test_a_tokens_folder_names_the_tokenizers_control_ids(packed: Path) -> None:
    controls, tokenizer = read_controls(packed / "tokens"), load_tokenizer(packed / "tokenizer")
    assert controls.mask == tokenizer.control("<|mask|>")
    assert controls.pad == tokenizer.control("<|pad|>")
    sentinels = [tokenizer.control(f"<|sentinel_{number}|>") for number in range(controls.sentinels)]
    assert sentinels == [controls.first_sentinel + number for number in range(controls.sentinels)]
    assert tokenizer.control(f"<|sentinel_{controls.sentinels}|>") is None
    assert tokenizer.reserved == set(range(controls.first_ordinary))
    assert controls.vocabulary == tokenizer.vocab_size


def test_a_held_out_slot_always_hides_the_same(packed: Path) -> None:
    tokens = packed / "tokens"
    valid, slots = TokenSplit.open(tokens, "valid"), np.array([2, 0])
    for objective in OBJECTIVES:
        whole = objective_slots(valid, slots, objective, tokens)
        assert same(whole, objective_slots(valid, slots, objective, tokens))
        alone = objective_slots(valid, slots[1:], objective, tokens)
        assert alone.inputs.equal(whole.inputs[1:])
        assert same(whole, corrupted(valid, slots * 0, slots, objective, read_controls(tokens), seed=HELD_OUT))


def test_next_token_batches_are_the_loaders_own(packed: Path) -> None:
    tokens = packed / "tokens"
    train = TokenSplit.open(tokens, "train")
    batches = Batches(train, batch_size=4, seed=1)
    assert objective_batches(batches, "next-token", tokens) is batches
    assert same(objective_slots(train, np.arange(3), "next-token", tokens), read_slots(train, np.arange(3)))
    assert isinstance(objective_batches(batches, "masked", tokens), Corrupted)


def test_tokens_packed_without_control_ids_serve_next_token_alone(tmp_path: Path) -> None:
    meta = {"dtype": "uint16", "vocabulary": 900, "context": 4, "overlap": 0, "splits": {"train": {"tokens": 10}}}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    np.arange(10, dtype=np.uint16).tofile(tmp_path / "train-00000.bin")
    train = TokenSplit.open(tmp_path, "train")
    batches = Batches(train, batch_size=1, seed=0)
    assert objective_batches(batches, "next-token", tmp_path) is batches
    with pytest.raises(ForjaError, match="name no pad, so they serve the objective next-token alone"):
        objective_batches(batches, "masked", tmp_path)
