from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus import documents
from forja.corpus.documents import DOCUMENTS, RowWriter, document_id, read_documents, read_rows


@given(st.text(), st.text(), st.binary())
def test_an_id_is_32_hexadecimal_digits_and_always_the_same(source: str, origin: str, raw: bytes) -> None:
    identity = document_id(source, origin, raw)
    assert len(identity) == 32
    assert int(identity, 16) >= 0
    assert identity == document_id(source, origin, raw)


@given(st.text(min_size=1), st.text(), st.binary())
def test_no_shift_between_the_parts_gives_the_same_id(source: str, origin: str, raw: bytes) -> None:
    assert document_id(source, origin, raw) != document_id(source[:-1], source[-1] + origin, raw)


def test_the_id_is_fixed_for_ever() -> None:
    assert document_id("general", "a.jsonl#1", b'{"text": "x"}') == "7401fa7722541d254adce1500d772f75"


def row(number: int, size: int = 10) -> dict[str, object]:
    return dict.fromkeys(DOCUMENTS.names) | {"id": f"{number:032x}", "text": "x" * size, "subjects": []}


def test_a_new_file_is_begun_when_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_BYTES", 1000)
    writer = RowWriter(tmp_path, "documents", DOCUMENTS)
    for number in range(25):
        writer.add(row(number, 100))
    writer.close()
    files = sorted(tmp_path.iterdir())
    assert [pq.read_metadata(path).num_rows for path in files] == [10, 10, 5]
    assert [found["id"] for found in read_rows(files)] == [f"{number:032x}" for number in range(25)]


def test_long_documents_do_not_pile_up_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "GROUP_BYTES", 1000)
    writer = RowWriter(tmp_path, "documents", DOCUMENTS)
    for number in range(9):
        writer.add(row(number, 500))
    writer.close()
    assert pq.read_metadata(tmp_path / "documents-00000.parquet").num_row_groups == 5


def test_a_writer_without_rows_leaves_an_empty_file(tmp_path: Path) -> None:
    RowWriter(tmp_path, "documents", DOCUMENTS).close()
    assert pq.read_table(tmp_path / "documents-00000.parquet").num_rows == 0


def test_batches_come_with_the_columns_asked_for(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path, "documents", DOCUMENTS)
    writer.add(row(1))
    writer.close()
    batches = list(read_documents(tmp_path, ["id", "text"]))
    assert [batch.schema.names for batch in batches] == [["id", "text"]]
