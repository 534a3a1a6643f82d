"""An erased document leaves a gap that weighs nothing, and nothing else in the shards moves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.recipe import TokenizerSection, TokensSection
from forja.tokens.bpe import load_tokenizer, train_tokenizer
from forja.tokens.erase import Shape, Stretch, erase, find_stretches, indexed_ids, shape_of, slots_of
from forja.tokens.loader import TokenSplit, read_slots
from forja.tokens.pack import SPLITS, pack_tokens
from made import sentences, write_documents

CONTEXT = 32


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose documents are taken twice, over shards of 1,024 tokens; tokens/ beside corpus/ and tokenizer/."""
    folder = tmp_path_factory.mktemp("packed")
    write_documents(folder / "corpus", [sentences(number, 8) for number in range(60)])
    train_tokenizer(TokenizerSection(vocabulary=512), folder / "corpus", folder / "tokenizer")
    section = TokensSection(context=CONTEXT, overlap=4, valid_fraction=0.2, test_fraction=0.2, shard_tokens=1024)
    pack_tokens(section, folder / "corpus", folder / "tokenizer", folder / "tokens", weights={"made": 2.0})
    return folder


@pytest.fixture
def tokens(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed / "tokens", tmp_path / "tokens"))


def texts(packed: Path) -> dict[str, str]:
    rows = pq.read_table(packed / "corpus" / "documents-00000.parquet").to_pylist()
    return {row["id"]: row["text"] for row in rows}


def across_two_shards(tokens: Path) -> str:
    index = TokenSplit.open(tokens, "train").index.to_pylist()
    return next(row["id"] for row in index if row["start"] // 1024 != (row["start"] + row["length"] - 1) // 1024)


def test_every_copy_of_a_document_is_found_where_its_text_lies(packed: Path, tokens: Path) -> None:
    tokenizer = load_tokenizer(packed / "tokenizer")
    copies = set()
    for identity, text in texts(packed).items():
        stretches = find_stretches(tokens, [identity])
        copies.add((stretches[0].split, len(stretches)))
        for stretch in stretches:
            ids = TokenSplit.open(tokens, stretch.split).read(stretch.start, stretch.length)
            assert tokenizer.decode(ids.tolist()) == text
    assert copies == {("train", 2), ("valid", 1), ("test", 1)}
    assert indexed_ids(tokens, identity[:12]) == {identity}


@given(
    context=st.integers(1, 12),
    overlap=st.integers(0, 11),
    tokens=st.integers(2, 120),
    start=st.integers(1, 120),
    length=st.integers(0, 30),
)
def test_the_slots_of_a_stretch_are_those_that_read_one_of_its_tokens(
    context: int, overlap: int, tokens: int, start: int, length: int
) -> None:
    overlap = min(overlap, context - 1)
    split = TokenSplit([np.arange(tokens, dtype=np.uint16)], context, overlap, 1 << 16)
    mine = set(range(start, start + length))
    reading = [number for number in range(split.sequences) if mine & set(split.slot(number).tolist())]
    shape = Shape(context, overlap, {"train": split.sequences})
    assert slots_of([Stretch("a", "train", start, length, 1)], shape).tolist() == reading


def test_erasing_changes_the_documents_own_tokens_and_no_other_byte(packed: Path, tokens: Path) -> None:
    identity = across_two_shards(tokens)
    stretches = find_stretches(tokens, [identity])
    erase(tokens, stretches)
    end = load_tokenizer(packed / "tokenizer").end_of_text
    gone = {at for stretch in stretches for at in range(stretch.start, stretch.start + stretch.length)}
    for split in SPLITS:
        before, after = TokenSplit.open(packed / "tokens", split), TokenSplit.open(tokens, split)
        old, new = before.read(0, before.tokens), after.read(0, after.tokens)
        changed = np.flatnonzero(old != new).tolist()
        assert changed == (sorted(gone) if split == "train" else [])
        assert all(new[at] == end for at in changed)
    assert find_stretches(tokens, [identity]) == []
    others = [row for row in before_index(packed) if row["id"] != identity]
    assert TokenSplit.open(tokens, "train").index.to_pylist() == others


def before_index(packed: Path) -> list[dict[str, object]]:
    return TokenSplit.open(packed / "tokens", "train").index.to_pylist()


def test_the_loader_gives_the_gap_no_weight_and_leaves_other_batches_as_they_were(packed: Path, tokens: Path) -> None:
    identity = across_two_shards(tokens)
    stretches = find_stretches(tokens, [identity])
    erase(tokens, stretches)
    before, after = TokenSplit.open(packed / "tokens", "train"), TokenSplit.open(tokens, "train")
    shape = shape_of(tokens)
    assert shape is not None
    touched = slots_of(stretches, shape).tolist()
    # The end-of-text behind the document is no target either: its context is gone.
    gone = {at for stretch in stretches for at in range(stretch.start, stretch.start + stretch.length + 1)}
    for slot in range(after.sequences):
        old, new = (read_slots(split, np.array([slot])) for split in (before, after))
        assert (new.weights is not None) == (slot in touched)
        if new.weights is None:
            assert old.inputs.equal(new.inputs)
            assert old.targets.equal(new.targets)
        else:
            first = slot * (CONTEXT - 4) + 1
            weights = [0.0 if at in gone else 1.0 for at in range(first, first + CONTEXT)]
            assert new.weights.tolist() == [weights]
    both = read_slots(after, np.array([touched[0], next(s for s in range(after.sequences) if s not in touched)]))
    assert both.weights is not None
    assert both.weights[1].min() == 1


def test_the_counts_tell_what_is_left(packed: Path, tokens: Path) -> None:
    import json

    identity = next(iter(texts(packed)))
    stretches = find_stretches(tokens, [identity])
    split = stretches[0].split
    old = json.loads((tokens / "meta.json").read_text())["splits"]
    erase(tokens, stretches)
    new = json.loads((tokens / "meta.json").read_text())["splits"]
    assert new[split]["documents"] == old[split]["documents"] - len(stretches)
    assert new[split]["bytes"] == old[split]["bytes"] - sum(stretch.bytes for stretch in stretches)
    assert new[split]["erased"] == sum(stretch.length + 1 for stretch in stretches)
    assert new[split]["tokens"] == old[split]["tokens"]
    assert {name: new[name] for name in SPLITS if name != split} == {
        name: old[name] for name in SPLITS if name != split
    }


def test_erasing_again_and_erasing_more_keep_the_gaps_apart(packed: Path, tokens: Path) -> None:
    identities = list(texts(packed))[:6]
    stretches = find_stretches(tokens, identities)
    for identity in (*identities[:3], *identities):
        erase(tokens, [stretch for stretch in stretches if stretch.id == identity])
    once = tokens.parent / "once"
    shutil.copytree(packed / "tokens", once)
    erase(once, stretches)
    for path in sorted(once.glob("*.bin")):
        assert path.read_bytes() == (tokens / path.name).read_bytes()
    for split in SPLITS:
        whole, parts = TokenSplit.open(once, split), TokenSplit.open(tokens, split)
        assert np.array_equal(whole.erased(0, whole.tokens), parts.erased(0, parts.tokens))
        assert whole.index.equals(parts.index)
    assert (once / "meta.json").read_bytes() == (tokens / "meta.json").read_bytes()
