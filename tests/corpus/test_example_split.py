"""No split knows another: whatever the rows and their order, nothing alike lies on two sides."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.dedup import jaccard, normalise, shingles
from forja.corpus.examples.layouts import Example, read_examples
from forja.corpus.examples.split import NEAR, Splits, near_clusters, split_examples
from forja.errors import ForjaError

WORDS = [f"word{number}" for number in range(300)]


def text(seed: int, words: int = 30) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def labelled(said: str, label: str, source: str = "made") -> Example:
    digest = hashlib.sha256(f"{label}:{said}".encode("utf-8", "surrogatepass")).hexdigest()
    return Example(id=digest[:32], text=said, label=label, source=source)


def rows(count: int, *, labels: str = "ab", source: str = "made", seed: int = 0) -> list[Example]:
    return [labelled(text(seed * 10_000 + at), labels[at % len(labels)], source) for at in range(count)]


def split(
    examples: Sequence[Example], *, test: Sequence[Example] | None = None, seed: int = 0, **more: float
) -> Splits:
    fractions = {"valid_fraction": 0.1, "test_fraction": 0.1, **more}
    return split_examples(examples, seed=seed, test=test, labelled=True, **fractions)


def reasons(splits: Splits) -> Counter[str]:
    return Counter(reason for _, _, reason in splits.removed)


def places(splits: Splits) -> dict[str, str]:
    """Of each text the split it lies in."""
    return {str(one.text): name for name, part in splits.parts.items() for one in part}


def changed(said: str, *, at: int = -1) -> str:
    """The text with one word of it another: a near duplicate."""
    words = said.split()
    words[at] = "another"
    return " ".join(words)


# --- what is alike -----------------------------------------------------------------------------


def test_texts_that_read_the_same_are_kept_once() -> None:
    examples = rows(40)
    copies = [labelled(str(one.text).upper().replace(" ", " -- "), str(one.label)) for one in examples[:5]]
    splits = split([*examples, *copies])
    assert sum(map(len, splits.parts.values())) == 40
    assert reasons(splits) == {"duplicate": 5}
    assert all(source == "made" for _, source, _ in splits.removed)


def test_of_a_text_with_two_labels_no_copy_stays() -> None:
    examples = rows(40)
    torn = labelled(str(examples[0].text) + "!", "b")
    splits = split([*examples, torn])
    assert reasons(splits) == {"two-labels": 2}
    assert examples[0].text not in places(splits)


def test_near_duplicates_lie_in_one_split_and_keep_their_labels() -> None:
    examples = rows(200)
    near = [labelled(changed(str(one.text)), "b" if one.label == "a" else "a") for one in examples[:60]]
    found = places(split([*examples, *near]))
    assert len(found) == 260
    assert all(found[str(one.text)] == found[changed(str(one.text))] for one in examples[:60])
    assert set(Counter(found.values())) == {"train", "valid", "test"}


def test_near_duplicates_of_near_duplicates_hang_together() -> None:
    said = text(1, 120)
    chain = [said, changed(said, at=20), changed(changed(said, at=20), at=90)]
    clusters = near_clusters([text(2, 120), chain[0], text(3, 120), chain[1], chain[2]]).tolist()
    assert clusters == [0, 1, 2, 1, 1]
    assert near_clusters([]).tolist() == []
    assert near_clusters(["alone"]).tolist() == [0]


edits = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 29), st.sampled_from("ab")), max_size=60)


@given(edits=edits, seed=st.integers(0, 3))
def test_no_pair_that_is_alike_lies_in_two_splits(edits: list[tuple[int, int, str]], seed: int) -> None:
    examples = rows(40)
    more = [labelled(changed(str(examples[which].text), at=at), label) for which, at, label in edits]
    splits = split([*examples, *more], seed=seed)
    kept = [
        (name, shingles(normalise(str(one.text)), NEAR.shingle)) for name, part in splits.parts.items() for one in part
    ]
    for at, (name, one) in enumerate(kept):
        assert all(jaccard(one, two) < NEAR.threshold for other, two in kept[at + 1 :] if other != name)
    assert len(kept) + len(splits.removed) == len(examples) + len(more)


# --- what a test file holds --------------------------------------------------------------------


def test_training_rows_like_a_test_row_are_taken_out_and_the_test_stays_whole() -> None:
    examples, test = rows(60), rows(20, seed=1)
    leaks = [
        labelled(str(test[0].text).upper(), str(test[0].label)),
        labelled(changed(str(test[1].text)), str(test[1].label)),
        labelled(str(test[2].text), "b" if test[2].label == "a" else "a"),
    ]
    splits = split([*examples, *leaks], test=test)
    assert reasons(splits) == {"leaks-into-test": 3}
    assert {one.id for one in splits.parts["test"]} == {one.id for one in test}
    assert len(splits.parts["train"]) + len(splits.parts["valid"]) == 60
    assert len(splits.parts["valid"]) == 6


def test_a_test_file_may_hold_one_class_alone() -> None:
    splits = split(rows(60), test=[one for one in rows(20, seed=1) if one.label == "a"])
    assert {one.label for one in splits.parts["test"]} == {"a"}


# --- how much each split gets ------------------------------------------------------------------


@given(order=st.randoms(use_true_random=False), seed=st.integers(0, 5))
def test_the_order_of_the_rows_changes_nothing(order: random.Random, seed: int) -> None:
    examples = rows(80)
    copies = [Example(one.id, one.text, one.label, source="copy", groups={"region": "x"}) for one in examples[:10]]
    near = [labelled(changed(str(one.text)), str(one.label)) for one in examples[20:30]]
    whole = [*examples, *copies, *near]
    shuffled = order.sample(whole, len(whole))
    one, two = split(whole, seed=seed), split(shuffled, seed=seed)
    assert one.parts == two.parts
    assert sorted(one.removed) == sorted(two.removed)


def test_another_seed_splits_otherwise() -> None:
    assert places(split(rows(100), seed=1)) != places(split(rows(100), seed=2))


def test_each_class_and_source_has_the_same_share_in_each_split() -> None:
    examples = [*rows(400, source="one"), *rows(200, labels="aaab", source="two", seed=1)]
    splits = split(examples)
    for name, share in (("valid", 0.1), ("test", 0.1), ("train", 0.8)):
        counts = Counter((one.label, one.source) for one in splits.parts[name])
        assert counts == {
            ("a", "one"): 200 * share,
            ("b", "one"): 200 * share,
            ("a", "two"): 150 * share,
            ("b", "two"): 50 * share,
        }


def test_a_class_of_ten_is_in_every_split() -> None:
    splits = split([*rows(300, labels="a"), *rows(10, labels="b", seed=1)])
    assert [sum(one.label == "b" for one in splits.parts[name]) for name in ("train", "valid", "test")] == [8, 1, 1]


def test_a_source_of_its_own_for_each_row_leaves_no_split_empty() -> None:
    splits = split([Example(one.id, one.text, one.label, source=f"page {at}") for at, one in enumerate(rows(100))])
    assert {name: len(part) for name, part in splits.parts.items()} == {"train": 80, "valid": 10, "test": 10}


def test_many_small_classes_give_their_share_together_and_keep_one_to_learn_from() -> None:
    examples = [labelled(text(at), f"class {at // 4}") for at in range(200)]
    splits = split(examples)
    assert {name: len(part) for name, part in splits.parts.items()} == {"train": 160, "valid": 20, "test": 20}
    assert {one.label for one in splits.parts["train"]} == {one.label for one in examples}


def test_a_flood_of_one_text_does_not_fill_a_split() -> None:
    said = text(7, 120)
    flood = [labelled(changed(said, at=at), "a") for at in range(100)]
    for seed in range(8):
        found = places(split([*rows(400), *flood], seed=seed))
        assert {found[str(one.text)] for one in flood} == {"train"}


def test_conversations_that_ask_the_same_lie_in_one_split() -> None:
    def conversation(at: int, answer: str) -> Example:
        messages = [{"role": "user", "content": text(at)}, {"role": "assistant", "content": answer}]
        return Example(id=f"{at:04d}{answer}", messages=messages, source="made")

    examples = [conversation(at, answer) for at in range(100) for answer in ("yes", "no")]
    splits = split_examples(examples, valid_fraction=0.1, test_fraction=0.1, seed=0)
    found = {one.id: name for name, part in splits.parts.items() for one in part}
    assert len(found) == 200
    assert all(found[f"{at:04d}yes"] == found[f"{at:04d}no"] for at in range(100))
    again = split_examples([*examples, examples[0]], valid_fraction=0.1, test_fraction=0.1, seed=0)
    assert reasons(again) == {"duplicate": 1}


# --- what cannot be split ----------------------------------------------------------------------


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ForjaError, match=r"all examples are of one class \(a\)"):
        split(rows(50, labels="a"))


def test_a_class_with_one_example_is_refused() -> None:
    with pytest.raises(ForjaError, match="there is only one example of c"):
        split([*rows(50), labelled("a text", "c")])


def test_a_column_of_texts_taken_for_labels_is_not_shown() -> None:
    secret = [labelled(text(at), f"{text(at)} hunter2") for at in range(30)]
    with pytest.raises(ForjaError, match=r"only one example of .{40}\.\.\., .* and 25 more") as refused:
        split(secret)
    assert "hunter2" not in str(refused.value)


def test_fewer_than_twenty_are_refused_after_duplicates_are_out() -> None:
    assert split(rows(20)).parts["test"]
    with pytest.raises(ForjaError, match="19 examples are left after duplicates are taken out"):
        split([*rows(19), *rows(19)])


def test_examples_that_are_all_alike_are_refused() -> None:
    said = text(7, 120)
    flood = [labelled(changed(said, at=at), "ab"[at % 2]) for at in range(40)]
    with pytest.raises(ForjaError, match="nothing is left to hold out"):
        split(flood)


def test_half_a_surrogate_pair_is_split_like_any_text() -> None:
    examples = [labelled(f"{text(at)} \ud800 {at}", "ab"[at % 2]) for at in range(40)]
    assert sum(map(len, split(examples).parts.values())) == 40


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["enron_spam.csv.gz", "sms_spam.csv.gz", "urls.csv.gz"])
def test_real_sets_are_split_without_a_leak_and_evenly(name: str, realdata: Path) -> None:
    examples = read_examples([realdata / "phishing" / name], "classification").examples
    splits = split(examples)
    kept = [(split, one) for split, part in splits.parts.items() for one in part]
    assert len(kept) + len(splits.removed) == len(examples)
    assert len({normalise(str(one.text)) for _, one in kept}) == len(kept)
    clusters = near_clusters([str(one.text) for _, one in kept]).tolist()
    assert len(set(zip(clusters, (split for split, _ in kept), strict=True))) == len(set(clusters))
    shares = {split: sum(one.label == "1" for one in part) / len(part) for split, part in splits.parts.items()}
    assert max(shares.values()) - min(shares.values()) < 0.01
    assert all(0.09 < len(splits.parts[split]) / len(kept) < 0.12 for split in ("valid", "test"))
