"""Documents at rest: the columns, the ids, and Parquet files sorted by id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("origin", pa.string()),
        ("licence", pa.string()),
        ("date", pa.string()),
        ("lang", pa.string()),
        ("author", pa.string()),
        ("subjects", pa.list_(pa.string())),
        ("cluster", pa.string()),
        ("meta", pa.string()),
    ]
)
"""cluster: the least id among a document's duplicates, itself included; null where it has none."""
QUARANTINED = DOCUMENTS.append(pa.field("flags", pa.string()))
"""Documents left out by the poison screen; flags: JSON, a list of {kind, evidence}."""
REJECTED = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("origin", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("duplicate_of", pa.string()),
        ("cluster", pa.string()),
        ("meta", pa.string()),
    ]
)
"""detail: JSON; the value that a rule found and the one it asks for, or the run shared with an evaluation set."""
DUPLICATES = ("exact-duplicate", "near-duplicate", "same-record")
"""Reasons that are no rule's: another document says the same."""
STAGED = pa.schema(
    [
        *(DOCUMENTS.field(name) for name in DOCUMENTS.names if name not in ("text", "cluster")),
        ("text", pa.large_string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("flags", pa.string()),
        ("held", pa.bool_()),
        ("masked", pa.string()),
        ("raw_bytes", pa.int64()),
        ("source_number", pa.int32()),
        ("synthetic", pa.bool_()),
        ("digest", pa.binary(16)),
        ("keys", pa.binary()),
    ]
)
"""A row on its way, accepted or not: with its digest, the keys of its LSH bands (64 bits each), what was masked,
what it was flagged for, and whether it is held back for that."""
FILE_BYTES = 256 * 2**20
"""Text a file holds, about."""
GROUP_ROWS = 1024
GROUP_BYTES = 8 * 2**20
"""Rows, or characters of text, that a writer holds before it writes them: long documents must not pile up."""

Row = dict[str, Any]


def document_id(source: str, origin: str, raw: bytes) -> str:
    """32 hexadecimal digits that depend on the source's name, the relative origin and the raw record alone, so
    that no change of the cleaning changes them."""
    named, placed = source.encode("utf-8", "surrogatepass"), origin.encode("utf-8", "surrogatepass")
    lengths = [len(part).to_bytes(8, "big") for part in (named, placed, raw)]
    digest = hashlib.blake2b(b"".join((lengths[0], named, lengths[1], placed, lengths[2])), digest_size=16)
    digest.update(raw)
    return digest.hexdigest()


class RowWriter:
    """Rows into numbered Parquet files `<prefix>-00000.parquet`, a new one every FILE_BYTES of text."""

    def __init__(self, folder: Path, prefix: str, schema: pa.Schema) -> None:
        self.folder, self.prefix, self.schema = folder, prefix, schema
        self._number = 0
        self._bytes = 0
        self._held = 0
        self._rows: list[Row] = []
        self._file: pq.ParquetWriter | None = None

    def add(self, row: Row) -> None:
        self._rows.append(row)
        size = len(row.get("text") or "")
        self._bytes += size
        self._held += size
        if len(self._rows) >= GROUP_ROWS or self._held >= GROUP_BYTES:
            self._flush()
        if self._bytes >= FILE_BYTES:
            self._end_file()

    def close(self) -> None:
        """Write what is left; there is always at least one file, empty or not."""
        if self._rows or self._number == 0:
            self._flush()
        self._end_file()

    def _flush(self) -> None:
        if self._file is None:
            path = self.folder / f"{self.prefix}-{self._number:05d}.parquet"
            self._file = pq.ParquetWriter(path, self.schema, compression="zstd")
        self._file.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
        self._rows = []
        self._held = 0

    def _end_file(self) -> None:
        if self._rows:
            self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None
            self._number += 1
            self._bytes = 0


def read_rows(paths: Iterable[Path], columns: list[str] | None = None) -> Iterator[Row]:
    """Rows of Parquet files, one after the other."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=columns):
            yield from batch.to_pylist()


def read_documents(corpus_folder: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of a corpus folder's documents in the order of their ids, with these columns (all by default)."""
    for path in sorted(corpus_folder.glob("documents-*.parquet")):
        yield from pq.ParquetFile(path).iter_batches(batch_size=GROUP_ROWS, columns=columns)
