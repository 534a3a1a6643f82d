from __future__ import annotations

import random

import numpy as np
import pytest

from forja.corpus import dedup
from forja.corpus.dedup import band_keys, exact_key, jaccard, min_hash, near_duplicate_clusters, normalise, shingle_set
from forja.recipe import NearDuplicates

SETTINGS = NearDuplicates()


def words(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5000)}" for _ in range(count)]


def clusters(texts: list[str], settings: NearDuplicates = SETTINGS) -> list[int]:
    normal = [normalise(text) for text in texts]
    minhash = min_hash(settings)
    keys = np.array([band_keys(text, minhash) for text in normal]).T
    found = near_duplicate_clusters(keys, len(texts), lambda place: normal[place], settings)
    return [int(cluster) for cluster in found]


def test_planted_near_duplicates_are_found_and_others_are_not() -> None:
    originals = [words(seed, 200) for seed in range(150)]
    copies = []
    for seed, original in enumerate(originals[:100]):
        copy = list(original)
        for place in random.Random(seed).sample(range(200), 3):  # three words changed: Jaccard of about 0.86
            copy[place] = "changed"
        copies.append(copy)
    similar = [
        jaccard(shingle_set(" ".join(one).encode(), 5), shingle_set(" ".join(two).encode(), 5))
        for one, two in zip(originals, copies, strict=False)
    ]
    found = clusters([" ".join(text) for text in originals + copies])
    assert found[:150] == list(range(150))
    near = [place for place in range(100) if similar[place] >= SETTINGS.threshold]
    assert len(near) > 60
    assert sum(found[150 + place] == place for place in near) >= 0.95 * len(near)
    far = [place for place in range(100) if similar[place] < SETTINGS.threshold]
    assert all(found[150 + place] == 150 + place for place in far), "a pair below the threshold was joined"


def test_layout_case_and_punctuation_hide_no_duplicate() -> None:
    text = " ".join(words(1, 100))
    other = text.upper().replace(" ", ",\n ")
    assert clusters([text, " ".join(words(2, 100)), other]) == [0, 1, 0]


def test_a_chain_of_near_duplicates_is_one_cluster() -> None:
    first = words(3, 300)
    second = [*first[8:], *words(4, 8)]
    third = [*second[8:], *words(5, 8)]
    assert clusters([" ".join(text) for text in (third, second, first)]) == [0, 0, 0]


def test_short_texts_and_texts_without_words_are_compared_too() -> None:
    assert clusters(["one two", "One, two!", "three", "!!!", "???"]) == [0, 0, 2, 3, 4]


def test_equal_texts_and_no_others_have_one_exact_key() -> None:
    assert exact_key("a b") == exact_key("a b") != exact_key("a  b")


def test_jaccard_is_that_of_the_definition() -> None:
    one, two = b"a b c d e f g", b"a b c d e f h"
    assert jaccard(shingle_set(one, 3), shingle_set(two, 3)) == pytest.approx(4 / 6)


def test_a_sketch_of_a_long_document_estimates_its_similarity(monkeypatch: pytest.MonkeyPatch) -> None:
    first = words(7, 20_000)
    second = [*first[:15_000], *words(8, 5_000)]
    one, two = " ".join(first).encode(), " ".join(second).encode()
    exact = jaccard(shingle_set(one, 5), shingle_set(two, 5))
    monkeypatch.setattr(dedup, "MOST_SHINGLES", 2000)
    assert len(shingle_set(one, 5)) == 2000
    assert jaccard(shingle_set(one, 5), shingle_set(two, 5)) == pytest.approx(exact, abs=0.05)


def test_panels_and_the_cache_change_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join([*words(seed % 10, 100), f"w{seed}"]) for seed in range(60)]
    before = clusters(texts)
    monkeypatch.setattr(dedup, "MOST_CACHED", 0)
    monkeypatch.setattr(dedup, "PANEL", 7)
    assert clusters(texts) == before
    assert len(set(before)) == 10


def test_the_permutations_are_the_same_for_ever() -> None:
    minhash = min_hash(SETTINGS)
    assert (int(minhash.factors[0, 0]), int(minhash.terms[-1, 0])) == (3844531383, 1991352295)
