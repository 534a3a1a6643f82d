from __future__ import annotations

import io
import json
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources import json_stream
from forja.corpus.sources.json_stream import Fault, canonical, parsed, read_objects


class Counting:
    """A JSON decoder that counts the characters it has looked at."""

    def __init__(self) -> None:
        self.parsed = 0
        self._decoder = json.JSONDecoder()

    def raw_decode(self, text: str, at: int) -> tuple[Any, int]:
        try:
            value, end = self._decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            unended = error.msg.startswith("Unterminated string")
            self.parsed += (len(text) if unended else error.pos) - at
            raise
        except RecursionError:
            self.parsed += sys.getrecursionlimit()
            raise
        self.parsed += end - at
        return value, end


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), max_size=6)


def read(data: bytes, key: str | None = None, max_bytes: int = 1 << 20) -> tuple[list[dict[str, Any]], list[str]]:
    found = list(read_objects(io.BytesIO(data), max_bytes, key, lambda entry: "id" in entry))
    return (
        [entry for entry in found if not isinstance(entry, Fault)],
        [entry.reason for entry in found if isinstance(entry, Fault)],
    )


def document(count: int) -> bytes:
    entries = [{"id": number, "more": [{"x": "}, {"}, {"y": '"'}], "text": "ñ" * 20} for number in range(count)]
    return json.dumps({"about": {"n": 1}, "objects": entries}, indent=1, ensure_ascii=False).encode()


@given(OBJECTS, st.sampled_from([None, 1]), st.booleans(), st.integers(1, 40))
def test_a_list_under_a_key_gives_what_it_holds(
    entries: list[dict[str, Any]], indent: int | None, ascii_only: bool, piece: int
) -> None:
    data = json.dumps({"a": {"b": []}, "objects": entries, "z": 1}, indent=indent, ensure_ascii=ascii_only)
    before = json_stream.PIECE
    json_stream.PIECE = piece
    try:
        found = list(read_objects(io.BytesIO(data.encode("utf-8", "surrogatepass")), 1 << 20, "objects"))
    finally:
        json_stream.PIECE = before
    assert found == entries


@given(OBJECTS)
def test_lines_a_list_and_one_object_are_read_alike(entries: list[dict[str, Any]]) -> None:
    lines = "\n".join(json.dumps(entry) for entry in entries).encode()
    assert list(read_objects(io.BytesIO(lines), 1 << 20)) == entries
    assert list(read_objects(io.BytesIO(json.dumps(entries).encode()), 1 << 20)) == entries
    for entry in entries:
        assert list(read_objects(io.BytesIO(b"\xef\xbb\xbf" + json.dumps(entry, indent=2).encode()), 1 << 20)) == [
            entry
        ]


@given(VALUES)
def test_canonical_bytes_do_not_depend_on_how_an_object_was_written(value: Any) -> None:
    entry = {"b": value, "a": 1}
    again = json.loads(json.dumps({"a": 1, "b": value}, indent=3))
    assert canonical(entry) == canonical(again)
    assert parsed(canonical(entry)) == entry


def test_several_documents_in_one_file_are_all_read() -> None:
    assert len(read(document(3) + b"\n" + document(4), "objects")[0]) == 7


def test_a_cut_document_gives_its_whole_objects() -> None:
    data = document(50)
    for cut in (len(data) // 2, len(data) // 3, len(data) - 5):
        entries, faults = read(data[:cut], "objects")
        assert [entry["id"] for entry in entries] == list(range(len(entries)))
        assert len(entries) == data[:cut].count(b'"\n  }')
        assert faults == ["truncated"]


@pytest.mark.parametrize("damage", [b"\x00", b'"', b"{", b"}", b"]", b"\xff", b",", b"\n"])
def test_one_damaged_byte_costs_one_object(damage: bytes) -> None:
    data = document(40)
    at = data.index(b'"id": 20')
    for shift in (0, 3, 40, 60):
        entries, faults = read(data[: at + shift] + damage + data[at + shift + 1 :], "objects")
        # An object that ends too early is one without its fields; readers look at those.
        numbers = [entry.get("id") for entry in entries]
        assert len(set(range(40)) - set(numbers)) <= 2
        assert len(faults) <= 2


@pytest.mark.parametrize("number", [0, 1, 20, 38, 39])
@pytest.mark.parametrize("after", [b"", b"\n" * 3000])
def test_a_list_closed_by_damage_costs_one_object_and_says_so(number: int, after: bytes) -> None:
    data = document(40)
    at = data.rindex(b"{", 0, data.index(b'"id": %d,' % number))
    entries, faults = read(data[:at] + b"]" + after + data[at + 1 :], "objects")
    assert [entry["id"] for entry in entries] == [other for other in range(40) if other != number]
    assert faults == ["not-json"]


def test_a_list_closed_between_two_objects_costs_none_and_says_so() -> None:
    data = document(40)
    at = data.index(b",", data.rindex(b"}", 0, data.index(b'"id": 20,')))
    entries, faults = read(data[:at] + b"]" + data[at + 1 :], "objects")
    assert [entry["id"] for entry in entries] == list(range(40))
    assert faults == ["not-json"]


def test_an_object_over_the_bound_is_too_long_and_not_held() -> None:
    long = b'{"id": 1, "text": "' + b"x" * (40 << 20) + b'"}'
    data = b'{"objects": [{"id": 0}, ' + long + b', {"id": 2}]}'
    tracemalloc.start()
    entries, faults = read(data, "objects", 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ([entry["id"] for entry in entries], faults) == ([0, 2], ["too-long"])
    assert peak < 24 << 20


def test_what_is_not_utf_8_costs_its_object_only() -> None:
    data = document(5).replace("ñ".encode(), b"\xf1", 1)
    entries, faults = read(data, "objects")
    assert ([entry["id"] for entry in entries], faults) == ([1, 2, 3, 4], ["invalid-utf-8"])


@pytest.mark.parametrize(
    "piece",
    [b"[", b'{"a":', b'},{"', b'{"a":[{},', b'{"id":1,"a":"},{', b"\n", b'[{"a":1},[', b'{"a":{"a":1},{', b",{", b"{ "],
)
@pytest.mark.parametrize("key", ["objects", None])
def test_hostile_json_is_not_parsed_over_and_over(
    piece: bytes, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Counting()
    monkeypatch.setattr(json_stream, "DECODER", decoder)
    most, size = 1 << 12, 1 << 21
    monkeypatch.setattr(json_stream, "PIECE", 1 << 14)
    read(b'{"objects": [' + piece * (size // len(piece)), key, most)
    bound = json_stream.WASTE * (most + json_stream.PIECE)
    assert decoder.parsed < 2 * bound + 4 * size


def test_deep_nesting_and_endless_numbers_are_faults() -> None:
    deep = b"[" * 100_000
    entries, faults = read(b'{"objects": [{"id": 1, "a": ' + deep + b'}, {"id": 2}]}', "objects")
    assert faults[0] == "not-json"
    assert [entry["id"] for entry in entries] == [2]
    entries, faults = read(b'{"objects": [{"id": ' + b"9" * 10_000 + b'}, {"id": 2}]}', "objects")
    assert ([entry["id"] for entry in entries], faults) == ([2], ["not-json"])


@settings(max_examples=300)
@given(st.data())
def test_no_mutation_raises_anything(data: st.DataObject) -> None:
    raw = bytearray(document(6))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    key = data.draw(st.sampled_from([None, "objects"]))
    entries, faults = read(bytes(raw), key, 4096)
    assert all(isinstance(entry, dict) for entry in entries)
    assert len(faults) < 20
