"""The baseline that a classifier must beat is no straw man."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from forja.corpus.rows import read_rows
from forja.errors import ForjaError
from forja.evaluation.scores import binary_figures
from forja.evaluation.tfidf import fit_baseline


def mails(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    choose = random.Random(seed)
    usual, bait = ["meeting", "invoice", "report", "budget", "thanks"], ["winner", "prize", "urgent", "verify", "click"]
    labels = [choose.randrange(2) for _ in range(count)]
    texts = [
        " ".join([*choose.choices(usual, k=6), *choose.choices(bait if label else usual, k=3)]) for label in labels
    ]
    return texts, np.array(labels)


def test_it_learns_which_words_are_bait() -> None:
    texts, labels = mails(200)
    others, true = mails(100, seed=1)
    scores = fit_baseline(texts, labels, 0).scores(others)
    assert scores.shape == (100, 2)
    assert scores.sum(axis=1) == pytest.approx(1)
    assert ((scores[:, 1] > 0.5) == true).mean() > 0.95


def test_the_same_seed_gives_the_same_baseline() -> None:
    texts, labels = mails(120)
    one, two = (fit_baseline(texts, labels, 3).scores(texts) for _ in range(2))
    assert (one == two).all()


def test_characters_are_taken_where_words_tell_nothing() -> None:
    choose = random.Random(5)
    labels = np.array([choose.randrange(2) for _ in range(300)])
    # Every word occurs once; what tells is the ending.
    texts = [
        f"{''.join(choose.choices('abcdefghij', k=9))}{'login' if label else 'stone'}{number}"
        for number, label in enumerate(labels)
    ]
    fitted = fit_baseline(texts[:200], labels[:200], 0)
    assert fitted.unit == "char_wb"
    assert ((fitted.scores(texts[200:])[:, 1] > 0.5) == labels[200:]).mean() > 0.95


def test_weights_of_rows_move_the_baseline() -> None:
    texts, labels = mails(200)
    labels = np.where(np.random.default_rng(0).random(200) < 0.3, 1 - labels, labels)
    heavy = fit_baseline(texts, labels, 0, weights=np.where(labels == 1, 5.0, 1.0))
    assert heavy.scores(texts)[:, 1].mean() > fit_baseline(texts, labels, 0).scores(texts)[:, 1].mean() + 0.1


def test_a_class_without_training_rows_is_never_likely() -> None:
    texts, labels = mails(100)
    scores = fit_baseline(texts, labels * 2, 0, classes=4).scores(texts)
    assert scores.shape == (100, 4)
    assert not scores[:, [1, 3]].any()


def test_one_class_or_no_words_cannot_be_fitted() -> None:
    with pytest.raises(ForjaError, match="two classes"):
        fit_baseline(["a text", "another text"], np.array([1, 1]), 0)
    with pytest.raises(ForjaError, match="no words"):
        fit_baseline(["", " ", "", " "], np.array([0, 1, 0, 1]), 0)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "least"), [("sms_spam", 0.935), ("urls", 0.930)])
def test_inside_a_real_source_it_is_as_good_as_people_know_it(realdata: Path, name: str, least: float) -> None:
    rows = [row.fields for row in read_rows(realdata / f"phishing/{name}.csv.gz")]
    order = np.random.default_rng(0).permutation(len(rows))
    texts, labels = [rows[place]["text"] for place in order], np.array([int(rows[place]["label"]) for place in order])
    border = len(rows) * 4 // 5
    scores = fit_baseline(texts[:border], labels[:border], 0).scores(texts[border:])[:, 1]
    found = binary_figures(labels[border:], scores, 0.5, 0, only=["f1"])["f1"]
    # The split is another than that of the known figure, which may lie anywhere in the interval.
    assert found.high >= least
    assert found.value >= least - 0.015
