"""The engine: what the notation means, and that its draws are a function of the key alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.synth.grammar import Grammar, between, sample, stream


def written(text: str, name: str = "a", tries: int = 200) -> set[str]:
    rules = Grammar(text)
    return {rules.write(name, stream(number), {"who": "ana"}) for number in range(tries)}


def test_alternatives_optional_words_facts_and_capitals_are_all_written() -> None:
    found = written("! who\n@a\n{^who} {reads|writes}{? again}.\n{b}\n@b\nline\\nline")
    assert found == {"Ana reads.", "Ana writes.", "Ana reads again.", "Ana writes again.", "line\nline"}


def test_brackets_nest_and_an_alternative_may_be_empty() -> None:
    assert written("@a\nx{ {one|two}|}") == {"x", "x one", "x two"}


def test_a_capital_is_put_on_what_a_rule_wrote() -> None:
    assert written("@a\n{^b}, {^red|blue}\n@b\nword") == {"Word, Red", "Word, Blue"}


def test_a_rule_may_name_a_later_one_and_all_of_its_alternatives_count() -> None:
    assert written("@a\n{b}\n@b\none\ntwo\nthree") == {"one", "two", "three"}


@pytest.mark.parametrize("text", ["@a\n{nobody}", "@a\n{one|two", "@a\none}", "@a\nx\n@a\ny"])
def test_a_name_that_is_nothing_and_a_bracket_that_does_not_close_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no rule|not close|not opened|twice"):
        Grammar(text)


def test_some_gives_different_alternatives() -> None:
    rules = Grammar("@a\none\ntwo\nthree\nfour")
    assert sorted(rules.some("a", 9, stream("x"), {})) == ["four", "one", "three", "two"]
    assert all(len(set(rules.some("a", 3, stream(number), {}))) == 3 for number in range(50))


@given(st.integers(), st.integers(0, 30), st.integers(0, 40))
def test_a_sample_holds_no_item_twice(seed: int, size: int, count: int) -> None:
    chosen = sample(range(size), count, stream(seed))
    assert len(chosen) == min(size, count) == len(set(chosen))


@given(st.integers(), st.integers(-50, 50), st.integers(0, 50))
def test_between_includes_both_ends_and_nothing_else(seed: int, low: int, span: int) -> None:
    draw = stream(seed)
    assert all(low <= between(low, low + span, draw) <= low + span for _ in range(20))
    assert {between(0, 2, stream(seed, number)) for number in range(200)} == {0, 1, 2}


def test_a_stream_is_the_same_in_another_process() -> None:
    code = "from forja.corpus.synth.grammar import stream; print(stream('kind', 3, 'en', 7)())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(other.stdout) == stream("kind", 3, "en", 7)()
