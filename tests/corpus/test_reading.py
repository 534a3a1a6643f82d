"""Chunks on their way to the workers."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from forja.corpus.reading import Chunk, chunk_of, pack, unpack
from forja.corpus.sources.record import Record
from forja.recipe import Source

TEXT = st.text(st.characters(), max_size=40)
MAYBE = st.none() | TEXT
RECORDS = st.builds(
    Record,
    TEXT,
    st.binary(max_size=40),
    st.sampled_from(["text", "string", "html", "cve"]),
    reason=st.none() | st.sampled_from(["not-json", "unreadable"]),
    date=MAYBE,
    lang=MAYBE,
    licence=MAYBE,
    author=MAYBE,
    meta=st.dictionaries(TEXT, TEXT | st.integers(-9, 9), max_size=2),
    text=MAYBE,
)


@given(st.lists(RECORDS, max_size=5))
@example([Record("a\ud800", b"\xff", "string", meta={"\udfff": 1}, text="\udc80 b"), Record("b", b"c", text=None)])
def test_what_travels_to_a_worker_arrives_whatever_characters_it_holds(records: list[Record]) -> None:
    chunk = chunk_of(3, Source(path="x"), records)
    arrived = unpack(pack(chunk))
    assert (arrived.source, arrived.ids, arrived.sizes, arrived.error) == (3, chunk.ids, chunk.sizes, None)
    for sent, got in zip(records, arrived.records, strict=True):
        travels_without = sent.form == "string" or sent.reason is not None
        assert _all_but_raw(got) == _all_but_raw(sent)
        assert got.raw == (b"" if travels_without else sent.raw), "what has its text needs its bytes no more"


def test_a_failure_travels_in_place_of_records() -> None:
    error = {"what": "it broke.", "where": "there", "fix": None}
    assert unpack(pack(Chunk(1, error=error))) == Chunk(1, error=error)


def _all_but_raw(record: Record) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name != "raw"}
