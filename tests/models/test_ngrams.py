"""The layer over n-grams: what it counts, and that a classifier with it is one thing wherever it is loaded."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

import forja.models.hf  # noqa: F401  (registers model type forja)
from forja.models.classifier import TransformerClassifier, buckets_for, shortened
from forja.models.ngrams import NgramLayer, hashed_ngrams
from forja.models.tuned import Head, Shape, build_tuned, export_tuned, finished, load_classifier_folder
from forja.training.tensors import model_tensors
from models.test_tuned import forja_base

BUCKETS = 1 << 20
rows = st.lists(st.integers(0, 8191), min_size=1, max_size=24)


def ngrams(row: list[int], orders: int) -> set[tuple[int, ...]]:
    return {tuple(row[at : at + n]) for n in range(1, orders + 1) for at in range(len(row) - n + 1)}


@given(rows, st.integers(1, 4))
def test_each_ngram_counts_once(row: list[int], orders: int) -> None:
    _, present = hashed_ngrams(torch.tensor([row]), None, orders, BUCKETS)
    # Two n-grams of a short text meet in one of a million buckets next to never.
    assert abs(int(present.sum()) - len(ngrams(row, orders))) <= 1


@given(rows, st.integers(1, 8))
def test_padding_adds_no_ngram(row: list[int], more: int) -> None:
    layer = NgramLayer(3, 1 << 12, 2)
    with torch.no_grad():
        layer.weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
        alone = layer(torch.tensor([row]), None)
        mask = torch.tensor([[True] * len(row) + [False] * more])
        padded = layer(torch.tensor([row + [7] * more]), mask)
    assert torch.allclose(alone, padded, atol=1e-5)


def test_the_order_of_words_matters_to_it() -> None:
    one, two = (hashed_ngrams(torch.tensor([row]), None, 2, BUCKETS)[0] for row in ([5, 9, 11], [9, 5, 11]))
    assert not torch.equal(one, two)


def test_it_begins_as_nothing_and_is_small_for_many_classes() -> None:
    assert not NgramLayer(3, 1 << 10, 2)(torch.tensor([[1, 2, 3]]), None).any()
    assert buckets_for(2) * 2 == buckets_for(4) * 4
    assert buckets_for(2) & (buckets_for(2) - 1) == 0
    assert buckets_for(10_000) >= 1 << 10


def test_a_long_text_ends_in_its_own_last_token_where_it_is_cut() -> None:
    tokens = torch.tensor([[4, 5, 6, 7, 8, 3], [4, 5, 3, 0, 0, 0]])
    mask = tokens != 0
    near, near_mask = shortened(tokens, mask, 4)
    assert near.tolist() == [[4, 5, 6, 3], [4, 5, 3, 0]]
    assert near_mask is not None
    assert near_mask.sum(dim=1).tolist() == [4, 3]
    assert shortened(tokens, mask, 6)[0] is tokens


def test_its_folder_gives_the_same_classes_through_transformers(tmp_path: Path, tokenizer_folder: Path) -> None:
    base = forja_base("modern", tmp_path / "base", tokenizer_folder)
    shape, head = Shape(Head(["ham", "spam"]), ngrams=3), Head(["ham", "spam"])
    model = build_tuned(base, shape)
    assert isinstance(model, TransformerClassifier)
    assert model.ngrams is not None
    with torch.no_grad():
        model.ngrams.weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
    done = finished(base, shape, model_tensors(model))
    told = export_tuned(done, base, head, tmp_path / "out")
    assert not told["standard"]
    again, labels = load_classifier_folder(tmp_path / "out")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokens = torch.randint(164, 512, (2, 90), generator=torch.Generator().manual_seed(2))  # longer than the context
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        expected = done(tokens, mask=mask)
        assert torch.allclose(again(tokens, mask=mask), expected, atol=1e-5)
        assert torch.allclose(theirs(tokens, attention_mask=mask).logits, expected, atol=1e-5)
    assert labels == ["ham", "spam"]
