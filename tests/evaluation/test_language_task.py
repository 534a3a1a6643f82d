"""Perplexity of any texts: by document, source, domain and language, as text files have it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.small_models import VOCABULARY, small_model, small_tokenizer, subject_of
from forja.corpus.rows import read_rows
from forja.errors import ForjaError
from forja.evaluation.perplexity import evaluate_text
from forja.evaluation.task import TaskResult
from forja.evaluation.tasks.language import evaluate
from forja.models.transformer import Transformer
from forja.tokens.bpe import Tokenizer
from made import sentences


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def examine(model: Transformer, tokenizer: Tokenizer, folder: Path, *data: Path) -> TaskResult:
    return evaluate(subject_of(model, tokenizer, folder), data)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def even_model() -> Transformer:
    model = small_model()
    with torch.no_grad():
        model.unembedding.zero_()
    return model


def test_documents_are_measured_as_text_files_are(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A document longer than the context too."""
    text = sentences(1, 30)
    (tmp_path / "a.txt").write_text(text)
    model = small_model(seed=2)
    found, measured = (
        examine(model, tokenizer, tmp_path, tmp_path / "a.txt"),
        evaluate_text(model, tokenizer, [tmp_path / "a.txt"]),
    )
    assert found.details["tokens"] == measured["tokens"] > 3 * model.config.context
    assert found.figures["perplexity"].value == pytest.approx(measured["perplexity"], rel=1e-4)
    assert found.figures["bits_per_byte"].value == pytest.approx(measured["bits_per_byte"], rel=1e-4)


def test_figures_are_of_all_tokens_and_bytes_together_and_lie_in_their_intervals(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    texts = ["naïve 中文", *(sentences(seed, seed + 1) for seed in range(8))]
    path = write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in texts])
    result = examine(small_model(seed=3), tokenizer, tmp_path, path)
    nats, tokens, size = (sum(row[key] for row in result.predictions) for key in ("nats", "tokens", "bytes"))
    assert (result.items, result.details["tokens"], result.details["bytes"]) == (9, tokens, size)
    assert size == sum(len(text.encode()) for text in texts)
    assert result.figures["perplexity"].value == pytest.approx(math.exp(nats / tokens))
    assert result.figures["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size)
    for figure in result.figures.values():
        assert figure.low < figure.value < figure.high


def test_an_even_model_is_as_unsure_as_its_vocabulary_is_large(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "texts.jsonl", [{"text": sentences(seed, 2)} for seed in range(4)])
    perplexity = examine(even_model(), tokenizer, tmp_path, path).figures["perplexity"]
    assert (perplexity.value, perplexity.low, perplexity.high) == pytest.approx((VOCABULARY,) * 3, rel=1e-4)


def test_documents_are_grouped_by_source_domain_and_language(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [
        {"text": "The server blocks.", "source": "wiki", "lang": "en", "domain": "web"},
        {"text": "El servidor.", "source": "wiki", "lang": "es", "domain": "web"},
        {"text": "The kernel logs.", "lang": "en"},
    ]
    (tmp_path / "notes.md").write_text("First paragraph.\n\nSecond paragraph,\nof two lines.\n \n\n")
    path = write_rows(tmp_path / "mixed.jsonl", rows)
    result = examine(small_model(), tokenizer, tmp_path, path, tmp_path / "notes.md")
    items = {
        name: {kind: group["items"] for kind, group in groups.items()}
        for name, groups in result.details["groups"].items()
    }
    assert items == {"source": {"wiki": 2, "mixed": 1, "notes": 2}, "domain": {"web": 2}, "lang": {"en": 2, "es": 1}}
    assert result.items == 5
    assert result.details["removed"] == {"empty": 1}
    (own,) = [row for row in result.predictions if row.get("lang") == "es"]
    assert own["bytes"] == len("El servidor.")
    assert result.details["groups"]["lang"]["es"]["bits_per_byte"].value == pytest.approx(
        own["nats"] / math.log(2) / own["bytes"]
    )


def test_without_domains_there_are_no_groups_of_them(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "texts.jsonl", [{"text": "The server blocks."}])
    assert set(examine(small_model(), tokenizer, tmp_path, path).details["groups"]) == {"source"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}\n', "row 2: this row has no text"),
        ("a.jsonl", b'{"text": 3}\n', "row 1: this row has no text"),
        ("a.jsonl", b'{"text": ""}\n', "no text"),
        ("a.txt", b" \n\n ", "no text"),
        ("a.txt", b"abc \xff", "not UTF-8"),
        ("b.txt", None, "cannot be read"),
    ],
)
def test_a_file_without_text_is_named(
    name: str, content: bytes | None, said: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ForjaError) as error:
        examine(small_model(), tokenizer, tmp_path, path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_an_encoder_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "texts.jsonl", [{"text": "The server blocks."}])
    with pytest.raises(ForjaError, match="an encoder gives a text no probability"):
        examine(small_model(architecture="encoder"), tokenizer, tmp_path, path)


@pytest.mark.realdata
def test_real_documents_are_measured_by_source_and_language(
    realdata: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    names = ("news_speech_web_en", "books_es")
    rows = []
    for name in names:
        documents = [row.fields for row in read_rows(realdata / f"corpora/general/{name}.jsonl.gz")]
        rows += [{**fields, "text": fields["text"][:2000]} for fields in documents[:: len(documents) // 10][:10]]
    result = examine(small_model(128), tokenizer, tmp_path, write_rows(tmp_path / "real.jsonl", rows))
    assert result.items == 20
    assert {name: group["items"] for name, group in result.details["groups"]["lang"].items()} == {"en": 10, "es": 10}
    assert len(result.details["groups"]["source"]) > 2
