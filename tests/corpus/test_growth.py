from __future__ import annotations

import re

import pytest

from corpus.growth import assert_in_proportion, calls


def test_what_grows_as_the_length_passes_and_what_grows_as_its_square_does_not() -> None:
    assert_in_proportion(lambda size: re.findall(r"a", "a" * size), 50_000)
    with pytest.raises(AssertionError, match="times as much"):
        assert_in_proportion(lambda size: re.search(r"a+b", "a" * size), 2_000)


def test_calls_are_the_same_at_every_run() -> None:
    assert calls(lambda: sorted("cab", key=str.upper)) == calls(lambda: sorted("cab", key=str.upper)) >= 2
