"""The n-gram baselines are probabilities, and the ones their papers define."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.evaluation.baselines import count_train
from forja.tokens import pairs
from forja.tokens.loader import TokenSplit

VOCABULARY = 7


def split(ids: list[int], gaps: list[tuple[int, int]] | None = None) -> TokenSplit:
    erased = np.array(gaps, np.int64).reshape(-1, 2) if gaps else None
    return TokenSplit([np.array(ids, np.uint16)], context=2, overlap=0, vocabulary=VOCABULARY, gaps=erased)


streams = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=80)


@given(streams)
def test_probabilities_sum_to_one_over_the_vocabulary(ids: list[int]) -> None:
    unigram, bigram = count_train(split(ids))
    everything = np.arange(VOCABULARY)
    assert unigram.probability(everything).sum() == pytest.approx(1)
    for context in range(VOCABULARY):
        assert bigram.probability(np.full(VOCABULARY, context), everything).sum() == pytest.approx(1)


@given(streams)
def test_counting_in_chunks_changes_nothing(ids: list[int]) -> None:
    text = np.array([*ids, 0])
    whole = count_train(split(ids)).perplexities(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "CHUNK", 5)
        assert count_train(split(ids)).perplexities(text) == pytest.approx(whole)


@given(before=streams, gap=st.integers(1, 20), after=streams, chunk=st.integers(1, 9))
def test_what_was_erased_is_not_counted(before: list[int], gap: int, after: list[int], chunk: int) -> None:
    # 0 ends a text: what stands behind the gap has one before it, as it would without the gap.
    whole = count_train(split([*before, 0, *after]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "CHUNK", chunk)
        erased = count_train(split([*before, 0, *[0] * gap, *after], gaps=[(len(before) + 1, gap)]))
    assert np.array_equal(erased.unigram.probabilities, whole.unigram.probabilities)
    assert np.array_equal(erased.bigram.pairs, whole.bigram.pairs)
    assert np.array_equal(erased.bigram.counts, whole.bigram.counts)


def test_a_small_example_agrees_with_the_formula_by_hand() -> None:
    # a b a b a c: pairs ab 2, ba 2, ac 1; one pair seen once, two seen twice: D = 1 / (1 + 2 * 2) = 0.2.
    _, bigram = count_train(split([0, 1, 0, 1, 0, 2]))
    assert bigram.discount == pytest.approx(0.2)
    # Continuations: each of a, b, c follows one kind of context, of three pairs. No token follows two, so the
    # lower order's discount is a half, and 1.5 / 3 is spread evenly.
    lower = 0.5 / 3 + 0.5 / VOCABULARY
    expected = (2 - 0.2) / 3 + (0.2 * 2 / 3) * lower
    assert bigram.probability(np.array([0]), np.array([1]))[0] == pytest.approx(expected)


def test_an_unseen_context_falls_back_to_the_lower_order() -> None:
    _, bigram = count_train(split([0, 1, 0, 1]))
    assert bigram.probability(np.array([5]), np.array([1]))[0] == pytest.approx(bigram.continuation[1])


def test_each_order_has_its_own_discount() -> None:
    ids = [0, 1, 2, 3, 0, 1, 2, 0, 1, 3]
    _, bigram = count_train(split(ids))
    # Pairs: 01 x3, 12 x2, 23, 30, 20, 13 once: 4 / (4 + 2 * 1). Histories: 0 {3, 2}, 1 {0}, 2 {1}, 3 {2, 1}.
    assert bigram.discount == pytest.approx(4 / 6)
    lower = 2 / (2 + 2 * 2)
    expected = (2 - lower) / 6 + lower * 4 / 6 / VOCABULARY
    assert bigram.continuation[3] == pytest.approx(expected)


def test_a_bigram_beats_a_unigram_where_order_matters() -> None:
    ids = [0, 1, 2, 3] * 50
    unigram, bigram = count_train(split(ids)).perplexities(np.array(ids))
    assert bigram < 1.2 < unigram
