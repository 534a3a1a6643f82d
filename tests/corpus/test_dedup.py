from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forja.corpus import dedup
from forja.corpus.dedup import (
    band_keys,
    candidate_pairs,
    components,
    exact_key,
    jaccard,
    normalise,
    shingles,
    spanning_forest,
    unique_pairs,
)
from forja.recipe import NearDuplicates

SETTINGS = NearDuplicates()


def words(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5000)}" for _ in range(count)]


def similar(one: list[str], two: list[str]) -> float:
    return jaccard(shingles(" ".join(one).encode(), 5), shingles(" ".join(two).encode(), 5))


def test_layout_case_and_punctuation_hide_no_duplicate() -> None:
    text = " ".join(words(1, 100))
    assert normalise(text.upper().replace(" ", ",\n ")) == normalise(text)
    assert normalise("!?") == b"!?", "a text without a word stands for itself"


@given(st.one_of(st.text(), st.text(st.characters(max_codepoint=127)), st.text(st.characters(max_codepoint=0xFFFF))))
@example("\u0130I \u24b6\u03a3 \u2019s")
@example("\U0001f600\u0130 \ud800x")
def test_every_way_of_normalising_finds_the_same_words(text: str) -> None:
    words = " ".join(dedup.WORDS.findall(text.lower())) or text.lower()
    assert normalise(text) == words.encode("utf-8", "surrogatepass")


def test_jaccard_is_the_share_of_shared_shingles() -> None:
    one, two = words(1, 104), words(2, 104)
    assert similar(one, one) == 1
    assert similar(one, two) == 0
    half = one[:54] + two[54:]  # 50 of the 100 shingles are the same, the rest differ
    assert similar(one, half) == pytest.approx(50 / 150)


@given(st.lists(st.integers(0, 200), max_size=80), st.lists(st.integers(0, 200), max_size=80))
def test_jaccard_of_sorted_arrays_is_that_of_sets(one: list[int], two: list[int]) -> None:
    arrays = [np.unique(np.array(values, np.uint64)) for values in (one, two)]
    sets = set(one), set(two)
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1]) if sets[0] and sets[1] else 0
    assert jaccard(*arrays) == pytest.approx(expected)


def test_the_sketch_of_a_long_text_estimates_its_similarity(monkeypatch: pytest.MonkeyPatch) -> None:
    one = words(1, 20_000)
    two = [*one[:18_000], *words(2, 2000)]
    exact = similar(one, two)
    monkeypatch.setattr(dedup, "MOST_SHINGLES", 2000)
    assert len(shingles(" ".join(one).encode(), 5)) == 2000
    assert similar(one, two) == pytest.approx(exact, abs=0.05)


def test_documents_alike_at_the_threshold_share_a_band_as_often_as_theory_says() -> None:
    """1 - (1 - s^rows)^bands: 98% of pairs at 0.8, and of pairs at 0.3 almost none."""
    chance = 1 - (1 - 0.8**8) ** 22
    assert chance == pytest.approx(0.98, abs=0.005)
    texts, alike = [], []
    for seed in range(400):
        original = words(seed, 204)  # 200 shingles; 22 other ones at the end give 178 / 222
        texts += [
            line.encode() for line in (" ".join(original), " ".join([*original[:182], *words(10_000 + seed, 22)]))
        ]
        alike.append(similar(original, [*original[:182], *words(10_000 + seed, 22)]))
    assert np.mean(alike) == pytest.approx(0.8, abs=0.01)
    keys = band_keys(texts, SETTINGS)
    shared = (keys[::2] == keys[1::2]).any(axis=1)
    assert shared.mean() >= chance - 0.02
    assert not (keys[::2] == np.roll(keys[1::2], 1, axis=0)).any()


def test_a_key_depends_on_its_own_text_alone() -> None:
    texts = [" ".join(words(seed, 30 + seed)).encode() for seed in range(20)]
    together = band_keys(texts, SETTINGS)
    assert (together == np.concatenate([band_keys([text], SETTINGS) for text in texts])).all()
    assert band_keys([], SETTINGS).shape == (0, SETTINGS.bands)


@given(st.lists(st.integers(0, 6), max_size=60))
def test_in_small_buckets_every_pair_that_shares_a_key_is_a_candidate(values: list[int]) -> None:
    keys = np.array(values, np.uint64)
    places = np.arange(len(values)) * 3
    expected = {
        (places[one], places[two])
        for one in range(len(values))
        for two in range(one + 1, len(values))
        if values[one] == values[two]
    }
    found = unique_pairs(candidate_pairs(keys, places))
    if max((values.count(value) for value in values), default=0) <= dedup.ALL_PAIRS:
        assert {tuple(pair) for pair in found.tolist()} == expected
    assert {tuple(pair) for pair in found.tolist()} <= expected


def test_a_huge_bucket_is_connected_without_costing_its_square() -> None:
    found = unique_pairs(candidate_pairs(np.zeros(10_000, np.uint64), np.arange(10_000)))
    assert len(found) < 100_000
    assert (components(found)[1] == 0).all()


EDGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda edge: edge[0] != edge[1]), max_size=40)


@settings(max_examples=200)
@given(EDGES, st.randoms(use_true_random=False))
def test_components_are_those_of_a_search_whatever_the_order_of_edges(
    edges: list[tuple[int, int]], draw: random.Random
) -> None:
    neighbours: dict[int, set[int]] = {}
    for one, two in edges:
        neighbours.setdefault(one, set()).add(two)
        neighbours.setdefault(two, set()).add(one)
    expected = {}
    for node in neighbours:
        reached, waiting = {node}, [node]
        while waiting:
            new = neighbours[waiting.pop()] - reached
            reached |= new
            waiting += new
        expected[node] = min(reached)
    draw.shuffle(edges)
    array = np.array(edges, np.int64).reshape(-1, 2)
    nodes, least = components(array)
    assert dict(zip(nodes.tolist(), least.tolist(), strict=True)) == expected
    forest = spanning_forest(array)
    assert len(forest) <= max(1, len(expected) - len(set(expected.values())))
    again = components(forest)
    assert dict(zip(again[0].tolist(), again[1].tolist(), strict=True)) == expected


def test_equal_texts_have_one_digest_and_others_another() -> None:
    assert exact_key("a b") == exact_key("a b")
    assert exact_key("a b") != exact_key("a  b")
    assert len(exact_key("")) == 16
