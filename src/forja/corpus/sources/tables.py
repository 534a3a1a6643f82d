"""Parquet files, and Hugging Face data sets (extra `hub`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from forja.corpus.sources.jsonl import record_of
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source


def read_parquet(path: Path | IO[bytes], origin: str, text_field: str, max_bytes: int) -> Iterator[Record]:
    """One record a row. Raises ForjaError where the file is damaged or lacks the column."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise ForjaError(f"this is not a whole Parquet file ({said}).", where=origin) from None
    columns = file.schema_arrow.names
    if text_field not in columns:
        raise ForjaError(
            f"this Parquet file has no column {text_field!r}; it has {', '.join(columns)}.",
            where=origin,
            fix="Name the column with text in the source's `text_field`.",
        )
    number = 0
    try:
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield row_record(row, f"{origin}#{number}", text_field, max_bytes)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        yield rejected(f"{origin}#end", "damaged", error=f"{origin}: {said}")


def row_record(row: dict[str, Any], place: str, text_field: str, max_bytes: int) -> Record:
    """The record of one row; its id is made of the row as canonical JSON."""
    raw = json.dumps(row, ensure_ascii=False, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
    return record_of(row, place, raw, text_field) if len(raw) <= max_bytes else rejected(place, "too-long", raw[:1024])


def read_dataset(source: Source, base_folder: Path, max_bytes: int) -> Iterator[Record]:
    """Rows of a `datasets` name (streamed) or local folder. Raises ForjaError."""
    try:
        import datasets
    except ImportError:
        raise ForjaError(
            "reading Hugging Face data sets needs the library `datasets`.", fix="Install it: pip install 'forja[hub]'."
        ) from None
    name = source.dataset or ""
    folder = base_folder / Path(name).expanduser()
    try:
        if (folder / "dataset_info.json").exists() or (folder / "dataset_dict.json").exists():
            data = datasets.load_from_disk(str(folder))
            data = data[source.split] if isinstance(data, datasets.DatasetDict) else data
        elif folder.is_dir():
            data = datasets.load_dataset(str(folder), split=source.split, streaming=True)
        else:
            repository, _, config = name.partition(":")
            data = datasets.load_dataset(repository, config or None, split=source.split, streaming=True)
        columns = data.column_names
    except Exception as error:  # the library raises many kinds for a name that leads nowhere
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ForjaError(f"the data set cannot be opened ({said}).", where=name) from None
    if columns is not None and source.text_field not in columns:
        raise ForjaError(
            f"the data set has no column {source.text_field!r}; it has {', '.join(columns)}.",
            where=name,
            fix="Name the column with text in the source's `text_field`.",
        )
    for number, row in enumerate(data, 1):
        yield row_record(row, f"{source.split}#{number}", source.text_field, max_bytes)
