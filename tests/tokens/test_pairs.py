"""Counts are those of the stream, however it is cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.tokens import pairs
from forja.tokens.loader import TokenSplit
from forja.tokens.pairs import count_pairs

VOCABULARY = 7


@given(st.data())
def test_tokens_and_neighbours_are_counted_but_for_what_was_erased(data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, VOCABULARY - 1), max_size=60))
    cut = data.draw(st.integers(0, len(tokens)))
    ends = sorted(data.draw(st.sets(st.integers(0, len(tokens)), max_size=6)))
    gaps = [(a, b - a) for a, b in zip(ends[::2], ends[1::2], strict=False)]
    gone = {place for start, length in gaps for place in range(start, start + length)}
    limit = data.draw(st.integers(1, 80))
    shards = [np.array(part, np.uint16) for part in (tokens[:cut], tokens[cut:]) if part]
    split = TokenSplit(shards, 4, 0, VOCABULARY, gaps=np.array(gaps, np.int64).reshape(-1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "CHUNK", data.draw(st.integers(1, 70)))
        found = count_pairs(split, limit)
    held = [place for place in range(min(limit, len(tokens))) if place not in gone]
    assert found.singles.tolist() == [Counter(tokens[place] for place in held)[token] for token in range(VOCABULARY)]
    expected = Counter((tokens[place - 1], tokens[place]) for place in held if place > 0)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == sorted(expected)
    assert found.times.tolist() == [expected[pair] for pair in sorted(expected)]
