"""Flipped labels are found where the rest of the set contradicts them."""

from __future__ import annotations

import random
import sys

import pytest

from forja.corpus.poison import find_label_flips
from forja.errors import ForjaError

pytest.importorskip("cleanlab")

SPAM = ["win", "prize", "cash", "free", "offer", "claim", "winner", "urgent", "call", "now", "money", "bonus"]
HAM = [
    "meeting",
    "report",
    "lunch",
    "project",
    "monday",
    "colleague",
    "draft",
    "agenda",
    "review",
    "office",
    "train",
    "garden",
]


def mails(number: int) -> tuple[list[str], list[str]]:
    rng = random.Random(2)
    labels = ["spam" if place % 2 else "ham" for place in range(number)]
    return [" ".join(rng.choices(SPAM if label == "spam" else HAM, k=12)) for label in labels], labels


def test_flipped_labels_are_flagged_with_the_label_that_fits() -> None:
    texts, labels = mails(300)
    for row in (11, 40, 77):
        labels[row] = "ham" if labels[row] == "spam" else "spam"
    flags = find_label_flips(texts, labels)
    assert set(flags) == {11, 40, 77}
    assert flags[11].evidence["given"] == "ham"
    assert flags[11].evidence["suggested"] == "spam"
    assert flags == find_label_flips(texts, labels)


def test_a_set_of_one_label_or_of_few_examples_is_not_judged() -> None:
    texts, _ = mails(40)
    assert find_label_flips(texts, ["ham"] * 40) == {}
    assert find_label_flips(texts[:10], ["ham", "spam"] * 5) == {}
    assert find_label_flips([], []) == {}


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(ForjaError, match=r"forja\[labels\]"):
        find_label_flips(*mails(40))
