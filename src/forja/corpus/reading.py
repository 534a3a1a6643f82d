"""Sources to chunks of raw records: what travels to the workers, and how failures travel back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from forja.corpus.documents import document_id
from forja.corpus.engine import Chunks
from forja.corpus.sources.files import Part, read_file, read_files, split_files
from forja.corpus.sources.local_docs import read_local_docs
from forja.corpus.sources.record import Record
from forja.corpus.sources.tables import read_dataset
from forja.errors import ForjaError
from forja.recipe import CorpusSection, Source, SynthSection
from forja.run import cache_folder

CHUNK_BYTES = 2 * 2**20
CHUNK_RECORDS = 2000
RECORDS = pa.schema(
    [
        ("id", pa.string()),
        ("size", pa.int64()),
        ("origin", pa.large_binary()),
        ("raw", pa.large_binary()),
        ("form", pa.string()),
        ("reason", pa.string()),
        ("date", pa.large_binary()),
        ("lang", pa.large_binary()),
        ("licence", pa.large_binary()),
        ("author", pa.large_binary()),
        ("meta", pa.large_binary()),
        ("text", pa.large_binary()),
    ]
)
TEXTS = [column.name for column in RECORDS if column.type == pa.large_binary() and column.name != "raw"]
FOR_GOOD = 36_500.0
"""Days: the files of a crawl never change."""
SURROGATES = "surrogatepass"
"""JSON and file names may carry text that UTF-8 cannot hold; it must survive the way to the worker."""


@dataclass(frozen=True)
class Chunk:
    """Records of one source, by its number in the recipe, with the ids of their documents and the sizes of their raw
    bytes; or the error that ended the reading of it."""

    source: int
    records: list[Record] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    error: dict[str, str | None] | None = None


def chunk_of(number: int, source: Source, records: list[Record]) -> Chunk:
    """The records with the ids of their documents."""
    ids = [document_id(source.label, record.origin, record.raw) for record in records]
    sizes = [len(record.raw) for record in records]
    return Chunk(number, records, ids, sizes)


def chunk_readers(section: CorpusSection, base_folder: Path, seed: int, parts: int) -> list[Chunks]:
    """What reads the section's sources; each folder in `parts` parts at most, to be read side by side."""
    readers: list[Chunks] = []
    for number, source in enumerate(section.sources):
        pieces: Sequence[Part | None] = [None]
        if parts > 1 and source.path is not None and source.limit is None:
            pieces = split_files(base_folder / Path(source.path).expanduser(), parts) or [None]
        readers += [partial(read_chunks, section, number, base_folder, seed, piece) for piece in pieces]
    return readers


def read_chunks(
    section: CorpusSection, number: int, base_folder: Path, seed: int, part: Part | None = None
) -> Iterator[bytes]:
    """The chunks of one source, packed. Raises nothing: a failure is the last chunk."""
    source = section.sources[number]
    try:
        for records in _grouped(read_records(source, section, base_folder, seed, part)):
            yield pack(chunk_of(number, source, records))
    except ForjaError as error:
        yield pack(Chunk(number, error={"what": error.what, "where": error.where, "fix": error.fix}))


def read_records(
    source: Source, section: CorpusSection, base_folder: Path, seed: int, part: Part | None = None
) -> Iterator[Record]:
    """Raw records of a source in a fixed order. Raises ForjaError."""
    most = section.max_document_bytes
    cache = cache_folder(section.cache, base_folder)
    found: Iterable[Record]
    if source.kind == "local-docs":
        found = read_local_docs(most)
    elif source.kind == "synth":
        from forja.corpus.synth import read_synth

        found = read_synth(source.synth or SynthSection(), seed, base_folder=base_folder, cache=cache / "synth")
    elif source.dataset is not None:
        found = read_dataset(source, base_folder, most)
    elif source.path is None:
        found = _read_fetched(source, cache, most)
    else:
        found = read_files(source, base_folder, most, part)
    return islice(found, source.limit)


def _read_fetched(source: Source, cache: Path, most: int) -> Iterator[Record]:
    """What lies behind a source's addresses, one file after the other as they come."""
    for name, path in fetched_files(source, cache):
        yield from read_file(path, name, source, most)


def fetched_files(source: Source, cache: Path) -> Iterator[tuple[str, Path]]:
    """(name, file in the cache) of what a source's `url` or `crawl` stands for, fetched if it has to be."""
    from forja.corpus.sources.fetching import fetch
    from forja.corpus.sources.paging import fetch_pages

    if source.crawl is not None:
        from forja.corpus.sources.common_crawl import crawl_files

        for name, url in crawl_files(source, cache):
            yield name, fetch(url, cache, refresh_days=FOR_GOOD)
        return
    url = source.url or ""
    if source.kind == "nvd" and not url.endswith((".json", ".gz", ".zip")):
        key = os.environ.get("NVD_API_KEY")
        for path in fetch_pages(url, cache, since=source.since, key=key, refresh_days=source.refresh_days):
            yield path.name, path
        return
    yield urlsplit(url).path.rsplit("/", 1)[-1] or "page", fetch(url, cache, refresh_days=source.refresh_days)


def _grouped(records: Iterable[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.raw) + len(record.text or "")
        if size >= CHUNK_BYTES or len(chunk) >= CHUNK_RECORDS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def pack(chunk: Chunk) -> bytes:
    """The chunk as an Arrow stream. Records that have their text travel without their raw bytes."""
    columns: dict[str, Any] = {"id": chunk.ids, "size": chunk.sizes}
    for name in RECORDS.names[2:]:
        values = [getattr(record, name) for record in chunk.records]
        if name == "raw":
            values = [b"" if record.form == "string" or record.reason else record.raw for record in chunk.records]
        elif name == "meta":
            values = [json.dumps(value) for value in values]
        columns[name] = _text_column(values) if name in TEXTS else values
    return to_stream(pa.RecordBatch.from_pydict(columns, schema=RECORDS), chunk)


def to_stream(rows: pa.RecordBatch, chunk: Chunk) -> bytes:
    """Rows of a chunk, or rows made of it, as an Arrow stream that names its source and its error."""
    about = json.dumps({"source": chunk.source, "error": chunk.error})
    rows = rows.replace_schema_metadata({"chunk": about})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


def from_stream(payload: bytes) -> tuple[dict[str, Any], pa.Table]:
    """{source, error} and the rows of what `to_stream` gave."""
    with pa.ipc.open_stream(payload) as reader:
        about = json.loads(reader.schema.metadata[b"chunk"])
        return about, reader.read_all().replace_schema_metadata(None)


def unpack(payload: bytes) -> Chunk:
    """The inverse of `pack`."""
    about, table = from_stream(payload)
    columns: dict[str, list[Any]] = {
        name: _texts_of(table[name]) if name in TEXTS else table[name].to_pylist() for name in RECORDS.names
    }
    ids, sizes = columns.pop("id"), columns.pop("size")
    columns["meta"] = [json.loads(meta) for meta in columns["meta"]]
    rows = zip(*columns.values(), strict=True)
    records = [Record(**dict(zip(columns, row, strict=True))) for row in rows]
    return Chunk(about["source"], records, ids, sizes, about["error"])


def _text_column(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string()).cast(pa.large_binary())
    except UnicodeEncodeError:
        encoded = [None if value is None else value.encode("utf-8", SURROGATES) for value in values]
        return pa.array(encoded, pa.large_binary())


def _texts_of(column: pa.ChunkedArray) -> list[str | None]:
    try:
        texts: list[str | None] = column.cast(pa.large_string()).to_pylist()
        return texts
    except pa.ArrowInvalid:
        return [None if value is None else value.decode("utf-8", SURROGATES) for value in column.to_pylist()]
