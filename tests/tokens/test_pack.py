"""Packing keeps every document, splits by id, repeats by weight, and does not mind being killed."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.errors import ForjaError
from forja.recipe import TokenizerSection, TokensSection
from forja.tokens import pack
from forja.tokens.bpe import load_tokenizer, train_tokenizer
from forja.tokens.loader import TokenSplit
from forja.tokens.pack import SPLITS, copies_of, pack_tokens, split_of
from made import sentences, write_documents

SECTION = TokensSection(context=32, valid_fraction=0.1, test_fraction=0.1)
TEXTS = [sentences(seed, 3) + " é<|endoftext|>" for seed in range(200)]
ids_of_any_kind = st.text(min_size=1, max_size=40)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_documents(folder, TEXTS)
    return folder


@pytest.fixture(scope="module")
def tokenizer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TokenizerSection(vocabulary=512), corpus, folder)
    return folder


@pytest.fixture(scope="module")
def packed(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    pack_tokens(SECTION, corpus, tokenizer, folder, weights={})
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def index(folder: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"{split}-index.parquet").to_pylist()
    return rows


def write_sources(folder: Path, sources: dict[str, int]) -> None:
    rows = [
        {"id": hashlib.sha256(f"{source}{number}".encode()).hexdigest(), "source": source, "text": TEXTS[number]}
        for source, count in sources.items()
        for number in range(count)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"])), folder / "documents-00000.parquet")


def test_every_document_is_in_the_stream_where_the_index_says(corpus: Path, tokenizer: Path, packed: Path) -> None:
    decode = load_tokenizer(tokenizer).decode
    known = {row["id"]: row["text"] for row in pq.read_table(corpus / "documents-00000.parquet").to_pylist()}
    meta = json.loads((packed / "meta.json").read_text())
    found = set()
    for split in SPLITS:
        stream = TokenSplit.open(packed, split)
        position = 1
        assert stream.read(0, 1)[0] == 0
        for row in index(packed, split):
            assert row["start"] == position
            assert decode(stream.read(row["start"], row["length"]).tolist()) == known[row["id"]]
            assert row["bytes"] == len(known[row["id"]].encode())
            position += row["length"] + 1
            assert stream.read(position - 1, 1)[0] == 0
            found.add(row["id"])
        figures = meta["splits"][split]
        assert figures["tokens"] == position == stream.tokens
        assert figures["documents"] == len(index(packed, split))
        assert figures["bytes"] == sum(row["bytes"] for row in index(packed, split))
        assert figures["sequences"] == stream.sequences > 0
    assert found == set(known)
    assert sum(figures["documents"] for figures in meta["splits"].values()) == len(known)
    assert (meta["dtype"], meta["vocabulary"], meta["context"], meta["overlap"]) == ("uint16", 512, 32, 0)


@given(identity=ids_of_any_kind, valid=st.floats(0.01, 0.4), test=st.floats(0.01, 0.4))
def test_a_larger_corpus_or_test_split_moves_no_document_into_validation(
    identity: str, valid: float, test: float
) -> None:
    assert (split_of(identity, valid, test) == "valid") == (split_of(identity, valid, 0.01) == "valid")


def test_splits_hold_about_their_fractions() -> None:
    split = [split_of(f"{number:032x}", 0.2, 0.1) for number in range(5000)]
    assert split.count("valid") / 5000 == pytest.approx(0.2, abs=0.03)
    assert split.count("test") / 5000 == pytest.approx(0.1, abs=0.03)


def test_copies_come_to_the_weight_on_average() -> None:
    copies = [copies_of(f"{number:032x}", 2.25) for number in range(5000)]
    assert set(copies) == {2, 3}
    assert np.mean(copies) == pytest.approx(2.25, abs=0.05)
    assert {copies_of(str(number), 1.0) for number in range(100)} == {1}


def test_weights_repeat_training_documents_and_no_others(tokenizer: Path, tmp_path: Path) -> None:
    write_sources(tmp_path / "corpus", {"twice": 60, "half": 60, "never": 20, "plain": 60})
    weights = {"twice": 2.0, "half": 0.5, "never": 0.0}
    pack_tokens(SECTION, tmp_path / "corpus", tokenizer, tmp_path / "weighted", weights=weights)
    pack_tokens(SECTION, tmp_path / "corpus", tokenizer, tmp_path / "as-it-is", weights={})
    before = [row["source"] for row in index(tmp_path / "as-it-is", "train")]
    rows = index(tmp_path / "weighted", "train")
    after = [row["source"] for row in rows]
    assert after.count("twice") == 2 * before.count("twice")
    assert 0.2 < after.count("half") / before.count("half") < 0.8
    assert (after.count("never"), after.count("plain")) == (0, before.count("plain"))
    for split in ("valid", "test"):
        assert index(tmp_path / "weighted", split) == index(tmp_path / "as-it-is", split)
    # A copy right behind its original would teach the model to copy.
    assert all(row["id"] != following["id"] for row, following in pairwise(rows))
    stream = TokenSplit.open(tmp_path / "weighted", "train")
    places: dict[str, list[list[int]]] = {}
    for row in rows:
        places.setdefault(row["id"], []).append(stream.read(row["start"], row["length"]).tolist())
    assert all(copy == copies[0] for copies in places.values() for copy in copies)


def test_batches_shards_and_buffers_of_any_size_give_the_same_stream(
    corpus: Path, tokenizer: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "BATCH_BYTES", 900)
    monkeypatch.setattr(pack, "BUFFER_TOKENS", 300)
    monkeypatch.setattr(pack, "INDEX_ROWS", 7)
    pack_tokens(SECTION.model_copy(update={"shard_tokens": 1024}), corpus, tokenizer, tmp_path, weights={})
    assert len(list(tmp_path.glob("train-*.bin"))) > 5
    for split in SPLITS:
        one, other = TokenSplit.open(tmp_path, split), TokenSplit.open(packed, split)
        assert np.array_equal(one.read(0, one.tokens), other.read(0, other.tokens))
        assert index(tmp_path, split) == index(packed, split)


def test_a_large_vocabulary_takes_four_bytes_a_token(
    corpus: Path, tokenizer: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = load_tokenizer(tokenizer)
    large.vocab_size = 70_000
    monkeypatch.setattr(pack, "load_tokenizer", lambda folder: large)
    assert pack_tokens(SECTION, corpus, tokenizer, tmp_path, weights={}).dtype == "uint32"
    one, other = TokenSplit.open(tmp_path, "train"), TokenSplit.open(packed, "train")
    assert np.array_equal(one.read(0, one.tokens), other.read(0, other.tokens))


def test_a_corpus_smaller_than_one_sequence_says_what_there_is_and_what_would_do(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    section = SECTION.model_copy(update={"context": 4096})
    with pytest.raises(ForjaError, match="smaller than one sequence: the valid split") as failed:
        pack_tokens(section, corpus, tokenizer, tmp_path, weights={})
    said = str(failed.value)
    assert "tokens held, and documents: train " in said
    assert "a larger tokens.valid_fraction" in said
    fits = int(said.split("lower tokens.context to ")[1].split()[0])
    assert not (tmp_path / "meta.json").exists()
    pack_tokens(SECTION.model_copy(update={"context": fits}), corpus, tokenizer, tmp_path, weights={})


@pytest.mark.parametrize("writes", [1, 40])
def test_a_killed_attempt_leaves_nothing_that_changes_the_result(
    writes: int, corpus: Path, tokenizer: Path, packed: Path, tmp_path: Path
) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from forja.tokens import pack\n"
        "from forja.recipe import TokensSection\n"
        "pack.BUFFER_TOKENS, pack.BATCH_BYTES, pack.INDEX_ROWS = 100, 1000, 5\n"
        "flush, left = pack._Writer._flush_tokens, int(sys.argv[1])\n"
        "def flush_and_die(self):\n"
        "    global left\n"
        "    flush(self)\n"
        "    left -= 1\n"
        "    if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "pack._Writer._flush_tokens = flush_and_die\n"
        "where = [Path(argument) for argument in sys.argv[3:]]\n"
        "pack.pack_tokens(TokensSection.model_validate_json(sys.argv[2]), *where, weights={})\n"
    )
    arguments = [str(writes), SECTION.model_dump_json(), str(corpus), str(tokenizer), str(tmp_path)]
    died = subprocess.run([sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL)
    assert died.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*.bin"))
    assert not (tmp_path / "meta.json").exists()
    pack_tokens(SECTION, corpus, tokenizer, tmp_path, weights={})
    assert contents(tmp_path) == contents(packed)
