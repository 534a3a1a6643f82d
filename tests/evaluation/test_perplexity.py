"""Perplexity: every target once, bytes accounted for, and any text file measured or refused with a reason."""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from forja.errors import ForjaError
from forja.evaluation import perplexity
from forja.evaluation.perplexity import (
    disjoint_windows,
    evaluate_splits,
    evaluate_text,
    overlapping_windows,
    score,
)
from forja.evaluation.report import draw_samples
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.recipe import EvaluationSection, ModelSection, ReportSection, TokenizerSection, TokensSection
from forja.serving.generate import stream_text
from forja.tokens.bpe import Tokenizer, load_tokenizer, train_tokenizer
from forja.tokens.erase import erase, find_stretches
from forja.tokens.pack import pack_tokens

CONTEXT = 32
TEXT = """the router blocks an attacker before port 443 opens, naïve passwords leak, and keys rotate 中文 nightly
while certificates expire in production because nobody watched the dashboard"""
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small corpus, its tokenizer and its tokens."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("corpus", "tokenizer", "tokens"):
        (folder / name).mkdir()
    choose = random.Random(1)
    texts = [" ".join(choose.choices(WORDS, k=60)) + "." for _ in range(120)]
    table = pa.table({"id": [f"{n:032x}" for n in range(120)], "source": ["made"] * 120, "text": texts})
    pq.write_table(table, folder / "corpus" / "documents-00000.parquet")
    train_tokenizer(TokenizerSection(vocabulary=512), folder / "corpus", folder / "tokenizer")
    section = TokensSection(context=CONTEXT, overlap=8, valid_fraction=0.1, test_fraction=0.1)
    pack_tokens(section, folder / "corpus", folder / "tokenizer", folder / "tokens", weights={})
    return folder


@pytest.fixture(scope="module")
def tokenizer(project: Path) -> Tokenizer:
    return load_tokenizer(project / "tokenizer")


def make_model(seed: int = 0) -> Transformer:
    section = ModelSection(preset="gpt2", layers=1, heads=2, width=32, ffn_width=64)
    model = Transformer(resolve_config(section, vocabulary=512, context=CONTEXT))
    model.init_weights(seed)
    return model


def unsure_model() -> Transformer:
    """It gives every token the same probability."""
    model = make_model()
    with torch.no_grad():
        model.unembedding.zero_()
    return model


def split_bytes(project: Path, split: str) -> tuple[int, int]:
    figures = json.loads((project / "tokens" / "meta.json").read_text())["splits"][split]
    return figures["tokens"], figures["bytes"]


# --- windows and scores ------------------------------------------------------------------------


@given(length=st.integers(2, 300), context=st.integers(1, 40))
def test_every_target_is_scored_exactly_once(length: int, context: int) -> None:
    for windows in (disjoint_windows, overlapping_windows):
        scored = [target for w in windows(length, context) for target in range(w.first, w.stop + 1)]
        assert scored == list(range(1, length))
        assert all(0 < w.stop - w.start <= context for w in windows(length, context))


@given(length=st.integers(2, 300), context=st.integers(2, 40))
def test_overlapping_windows_give_all_but_the_first_targets_half_a_context(length: int, context: int) -> None:
    first, *later = overlapping_windows(length, context)
    assert first.start == 0
    assert all(w.first - w.start > context // 2 for w in later)


@pytest.mark.parametrize("windows", [disjoint_windows, overlapping_windows])
def test_the_score_is_the_cross_entropy_of_the_targets(windows: object) -> None:
    model, stream = make_model(), np.random.default_rng(0).integers(0, 512, 101)
    expected = 0.0
    for w in windows(101, CONTEXT):  # type: ignore[operator]
        tokens = torch.from_numpy(stream[w.start : w.stop + 1])
        with torch.no_grad():
            logits = model.logits(model(tokens[None, :-1]))[0]
        nats = F.cross_entropy(logits, tokens[1:], reduction="none")
        expected += float(nats[w.first - w.start - 1 :].double().sum())
    for batch in (1, 3, 16):
        assert score(model, stream, windows(101, CONTEXT), batch=batch) == pytest.approx(expected, rel=1e-5)  # type: ignore[operator]


def test_what_is_skipped_is_no_target() -> None:
    model, stream = make_model(), np.random.default_rng(0).integers(0, 512, 101)
    skip = np.zeros(101, bool)
    skip[[0, 1, 40, 41, 64, 65, 100]] = True
    expected = 0.0
    for w in disjoint_windows(101, CONTEXT):
        tokens = torch.from_numpy(stream[w.start : w.stop + 1])
        with torch.no_grad():
            nats = F.cross_entropy(model.logits(model(tokens[None, :-1]))[0], tokens[1:], reduction="none")
        expected += float(nats[torch.from_numpy(~skip[w.start + 1 : w.stop + 1])].double().sum())
    assert score(model, stream, disjoint_windows(101, CONTEXT), skip=skip) == pytest.approx(expected, rel=1e-5)


def test_a_model_that_gives_no_number_is_refused() -> None:
    model = make_model()
    with torch.no_grad():
        model.unembedding[3, 0] = float("nan")
    with pytest.raises(ForjaError, match="not a number"):
        score(model, np.arange(40), disjoint_windows(40, CONTEXT))


# --- the held-out splits -------------------------------------------------------------------------


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity(project: Path, tmp_path: Path) -> None:
    figures = evaluate_splits(EvaluationSection(), unsure_model(), project / "tokens", tmp_path)
    for split in ("valid", "test"):
        found = getattr(figures, split)
        tokens, size = split_bytes(project, split)
        assert found.perplexity == pytest.approx(512, rel=1e-4)
        assert (found.tokens, found.bytes) == (tokens - 1, size)
        assert found.bits_per_byte == pytest.approx(9 * (tokens - 1) / size, rel=1e-4)
        assert found.bigram < found.unigram < 512
    assert json.loads((tmp_path / "perplexity.json").read_text()) == asdict(figures)


def test_an_erased_document_is_not_measured_on(project: Path, tmp_path: Path) -> None:
    tokens = Path(shutil.copytree(project / "tokens", tmp_path / "tokens"))
    before = evaluate_splits(EvaluationSection(), unsure_model(), tokens, tmp_path).test
    (stretch,) = find_stretches(tokens, [pq.read_table(tokens / "test-index.parquet")["id"][1].as_py()])
    erase(tokens, [stretch])
    after = evaluate_splits(EvaluationSection(), unsure_model(), tokens, tmp_path).test
    assert after.documents == before.documents - 1
    assert after.tokens == before.tokens - stretch.length - 1
    assert after.bytes == before.bytes - stretch.bytes
    assert after.perplexity == pytest.approx(512, rel=1e-4)


def test_where_the_limit_cuts_only_the_bytes_scored_are_counted(project: Path, tmp_path: Path) -> None:
    index = pq.read_table(project / "tokens" / "test-index.parquet").to_pylist()
    whole = index[0]["length"] + 1  # its end-of-text too
    for limit, documents, size in (
        (whole, 1, index[0]["bytes"]),
        (whole + 10, 2, index[0]["bytes"] + index[1]["bytes"] * 10 / index[1]["length"]),
        (5, 1, index[0]["bytes"] * 5 / index[0]["length"]),
    ):
        found = evaluate_splits(EvaluationSection(max_tokens=limit), unsure_model(), project / "tokens", tmp_path).test
        assert (found.tokens, found.documents, found.bytes) == (limit, documents, round(size))


def test_evaluating_again_gives_the_same_file(project: Path, tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        evaluate_splits(EvaluationSection(max_tokens=300), make_model(), project / "tokens", tmp_path)
        written.append((tmp_path / "perplexity.json").read_bytes())
    assert written[0] == written[1]


# --- any text ------------------------------------------------------------------------------------


def test_text_files_are_measured_each_and_together(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = {"a.txt": "the router blocks 中文 " * 30, "b.txt": "x"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    result = evaluate_text(unsure_model(), tokenizer, [tmp_path / name for name in texts])
    tokens = [len(tokenizer.encode(text)) for text in texts.values()]
    size = sum(len(text.encode()) for text in texts.values())
    assert [found["tokens"] for found in result["files"].values()] == tokens
    assert result["perplexity"] == pytest.approx(512, rel=1e-4)
    assert result["bits_per_byte"] == pytest.approx(9 * sum(tokens) / size, rel=1e-4)


def test_a_single_token_is_conditioned_on_the_end_of_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    model = make_model()
    (token,) = tokenizer.encode("x")
    with torch.no_grad():
        nats = -model.logits(model(torch.tensor([[tokenizer.end_of_text]])))[0, 0].log_softmax(0)[token]
    assert evaluate_text(model, tokenizer, [tmp_path / "x"])["perplexity"] == pytest.approx(math.exp(nats), rel=1e-4)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "empty"), (b"abc \xff\xfe", r"not UTF-8 text \(byte 4"), ("folder", "folder")],
)
def test_a_file_that_cannot_be_measured_is_named(
    content: bytes | str | None, said: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ForjaError, match=said) as error:
        evaluate_text(make_model(), tokenizer, [path])
    assert str(path) in str(error.value)


@given(text=st.text(st.sampled_from("ab1. \n\t中é'"), max_size=200))
def test_pieces_are_the_whole_text(text: str) -> None:
    found = list(perplexity.pieces(text, 20))
    assert "".join(found) == text
    assert all(0 < len(piece) <= 20 for piece in found)


def test_long_text_encodes_the_same_in_pieces(tokenizer: Tokenizer) -> None:
    choose = random.Random(2)
    between = [" ", "  ", " \n", "\n", "\n\n ", ".  ", "!\n", "12345 ", ""]
    text = "".join(f" {choose.choice(WORDS)}{choose.choice(between)}" for _ in range(5000))
    ids = [token for piece in perplexity.pieces(text, 300) for token in tokenizer.encode(piece)]
    assert ids == tokenizer.encode(text)


# --- samples ---------------------------------------------------------------------------------------


def test_samples_are_drawn_for_each_prompt_and_temperature_and_are_the_same_again(tokenizer: Tokenizer) -> None:
    section = ReportSection(prompts=["the router", "keys"], temperatures=[0.0, 1.0], sample_tokens=6)
    drawn = draw_samples(make_model(), tokenizer, section, stream_text, seed=7)
    assert [(sample["prompt"], sample["temperature"]) for sample in drawn] == [
        ("the router", 0.0), ("the router", 1.0), ("keys", 0.0), ("keys", 1.0),
    ]  # fmt: skip
    assert drawn == draw_samples(make_model(), tokenizer, section, stream_text, seed=7)
    assert drawn != draw_samples(make_model(), tokenizer, section, stream_text, seed=8)
    narrow = section.model_copy(update={"top_k": 1})
    cold, warm, *_ = draw_samples(make_model(), tokenizer, narrow, stream_text, seed=7)
    assert cold["text"] == warm["text"]
