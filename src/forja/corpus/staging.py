"""Rows on their way, in buckets by id while sources are read, then sorted, with what finding duplicates needs lying
beside them in small arrays. Nothing is packed, as it is gone within the stage. A document's *place* is its number
among all live ones in the order of ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forja.corpus.dedup import borders_of
from forja.corpus.documents import STAGED

PREFIXES = 1 << 16
"""The first four hexadecimal digits of an id; a bucket's number is the first of those that it holds."""
BUCKETS = 128
SORTED_BYTES = 64 * 2**20
"""Of rows that are sorted at once: the buckets of a large corpus are split before."""
ROW_BYTES = 512
"""Bytes of a row besides its text, about."""
HELD_BYTES = 16 * 2**20
"""Bytes of rows that are collected before they are written, some to each bucket."""
BUFFER_BYTES = 64 * 1024
GROUP_ROWS = 1024
ARRAYS = ("live", "digests", "keys", "sizes", "dates", "sources", "synthetic", "ids")
NO_DATE = np.iinfo(np.int64).max


class Buckets:
    """Rows as they come, into one Arrow stream a bucket. count: of buckets, a power of two."""

    def __init__(self, staging: Path, count: int = BUCKETS) -> None:
        self._staging, self._width = staging, PREFIXES // count
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._files = ExitStack()
        self._sizes: dict[int, int] = {}
        self._held: list[pa.Table] = []
        self._held_bytes = 0

    def add(self, table: pa.Table) -> None:
        """table: of schema STAGED."""
        self._held.append(table)
        self._held_bytes += table.nbytes
        if self._held_bytes >= HELD_BYTES:
            self._write()

    def close(self) -> dict[int, int]:
        """The bytes of each bucket that holds rows, about: by what they say, not by how they came to lie in files."""
        self._write()
        self._files.close()
        return dict(sorted(self._sizes.items()))

    def _write(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held)
        self._held, self._held_bytes = [], 0
        heads = pc.utf8_slice_codeunits(table["id"], 0, 4).to_pylist()
        numbers = np.array([int(head, 16) // self._width * self._width for head in heads])
        order = np.argsort(numbers, kind="stable")
        table = table.take(order).combine_chunks()
        for start, end in borders_of(numbers[order]):
            bucket = int(numbers[order[start]])
            if bucket not in self._writers:
                path = _bucket_path(self._staging, bucket)
                # Some 60 small buffers a batch would each be a call of the system's.
                file = self._files.enter_context(pa.output_stream(path, buffer_size=BUFFER_BYTES))
                self._writers[bucket] = self._files.enter_context(pa.ipc.new_stream(file, STAGED))
            rows = table.slice(start, end - start)
            self._writers[bucket].write_table(rows)
            size = ROW_BYTES * len(rows) + (pc.sum(pc.binary_length(rows["text"])).as_py() or 0)
            self._sizes[bucket] = self._sizes.get(bucket, 0) + size


def _bucket_path(staging: Path, bucket: int) -> Path:
    return staging / f"bucket-{bucket:05d}.arrow"


def sort_bucket(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Sort one bucket by id, in parts where it is large, and write the arrays. job: staging, bucket, bytes.

    Returns the counts of each part, which is a bucket of its own from here on.
    """
    staging, bucket = Path(job["staging"]), job["bucket"]
    parts = 1 << (job["bytes"] // SORTED_BYTES).bit_length()
    if parts == 1:
        return [_sort(staging, bucket)]
    path = _bucket_path(staging, bucket)
    whole = path.rename(path.with_name(f"whole-{bucket:05d}.arrow"))
    split = Buckets(staging, min(PREFIXES, BUCKETS * parts))
    for rows in _rows(whole):
        split.add(pa.Table.from_batches([rows]))
    numbers = split.close()
    whole.unlink()
    return [_sort(staging, number) for number in numbers]


def _rows(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _sort(staging: Path, bucket: int) -> dict[str, Any]:
    path = _bucket_path(staging, bucket)
    table = pa.Table.from_batches(_rows(path), schema=STAGED).combine_chunks()
    order = pc.sort_indices(table, [("id", "ascending"), ("raw_bytes", "ascending"), ("origin", "ascending")])
    texts, place = table["text"], STAGED.get_field_index("text")
    table = _without_repeats(table.remove_column(place).take(order))
    with pa.ipc.new_file(str(staging / f"sorted-{bucket:05d}.arrow"), STAGED) as writer:
        for start in range(0, len(table), GROUP_ROWS):  # so that texts are never all copied
            sorted_texts = texts.take(order.slice(start, GROUP_ROWS))
            rows = table.slice(start, GROUP_ROWS).add_column(place, STAGED.field("text"), sorted_texts)
            writer.write_table(rows.combine_chunks())
    sizes = pc.binary_length(texts).take(order)
    path.unlink()
    live = np.flatnonzero(pc.and_not(pc.is_null(table["reason"]), table["held"]).to_numpy())
    kept = table.take(live)
    arrays: dict[str, npt.NDArray[Any]] = {
        "live": live,
        "digests": np.frombuffer(b"".join(kept["digest"].to_pylist()), np.uint64).reshape(-1, 2),
        "keys": _keys(kept),
        "sizes": np.asarray(sizes.take(live).to_numpy(), np.int64),
        "dates": np.array([_date_number(date) for date in kept["date"].to_pylist()], np.int64),
        "sources": np.asarray(kept["source_number"].to_numpy(), np.int32),
        "synthetic": np.asarray(kept["synthetic"].to_numpy(zero_copy_only=False), bool),
        "ids": np.array([bytes.fromhex(identity) for identity in kept["id"].to_pylist()], "V16"),
    }
    for name in ARRAYS:
        np.save(staging / f"{name}-{bucket:05d}.npy", arrays[name])
    return {"bucket": bucket, "live": len(live), "bytes": int(arrays["sizes"].sum()), "rows": len(table)}


def _without_repeats(table: pa.Table) -> pa.Table:
    """A record that came twice (same source, origin and bytes) is rejected the second time."""
    ids = table["id"].to_pylist()
    repeats = [False] + [one == two for one, two in pairwise(ids)]
    if not any(repeats[: len(ids)]):
        return table
    again = pa.array(repeats)
    reason = pc.if_else(again, "same-record", table["reason"])
    return table.set_column(table.schema.get_field_index("reason"), STAGED.field("reason"), reason)


def _keys(table: pa.Table) -> npt.NDArray[np.uint64]:
    """(bands, documents), so that one band lies in one piece."""
    found = table["keys"].to_pylist()
    if not found or found[0] is None:
        return np.zeros((0, len(found)), np.uint64)
    return np.ascontiguousarray(np.frombuffer(b"".join(found), np.uint64).reshape(len(found), -1).T)


def _date_number(date: str | None) -> int:
    """Rises with the date, whatever its precision; NO_DATE for none."""
    digits = "".join(character for character in date or "" if character.isdigit())[:14]
    return int(digits.ljust(14, "0")) if len(digits) >= 4 else NO_DATE


class Staged:
    """The sorted buckets and their arrays."""

    def __init__(self, staging: Path, counts: list[dict[str, Any]]) -> None:
        self.staging = staging
        self.counts = sorted(counts, key=lambda count: count["bucket"])
        self.buckets: list[int] = [count["bucket"] for count in self.counts]
        self.starts = np.r_[0, np.cumsum([count["live"] for count in self.counts])].astype(np.int64)
        """First place of each bucket, and the number of all places."""

    def as_job(self) -> dict[str, Any]:
        """What a worker needs to have the same, as JSON; jobs add their own keys to it."""
        return {"staging": str(self.staging), "counts": self.counts}

    @classmethod
    def of_job(cls, job: dict[str, Any]) -> Staged:
        return cls(Path(job["staging"]), job["counts"])

    @property
    def bytes(self) -> int:
        """Bytes of live text."""
        return sum(count["bytes"] for count in self.counts)

    @property
    def places(self) -> int:
        return int(self.starts[-1])

    def bytes_a_document(self) -> float:
        """Bytes on disk that finding duplicates costs a document, text and pairs aside."""
        files = sum(path.stat().st_size for name in ARRAYS for path in self.staging.glob(f"{name}-*.npy"))
        return round(files / max(1, self.places), 1)

    def array(self, name: str, index: int) -> npt.NDArray[Any]:
        """An array of the index-th bucket, read when touched."""
        return load_array(self.staging, name, self.buckets[index])

    def gather(self, name: str, places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The values of an array at these places, rising."""
        found = [
            self.array(name, index)[places[start:end] - self.starts[index]] for index, start, end in self.slices(places)
        ]
        return np.concatenate(found) if found else np.zeros(0)

    def slices(self, places: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """(bucket's index, start, end) of the runs of rising places that lie in one bucket."""
        borders = np.searchsorted(places, self.starts)
        for index in range(len(self.buckets)):
            if borders[index] < borders[index + 1]:
                yield index, int(borders[index]), int(borders[index + 1])


def load_array(staging: Path, name: str, bucket: int) -> npt.NDArray[Any]:
    path = staging / f"{name}-{bucket:05d}.npy"
    try:
        found: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    except ValueError:  # an empty array cannot be mapped
        found = np.load(path)
    return found


def load_sorted(staging: Path, bucket: int, columns: Sequence[str] = STAGED.names) -> pa.Table:
    """The rows of a sorted bucket; columns that are not asked for are not read."""
    options = pa.ipc.IpcReadOptions(included_fields=[STAGED.get_field_index(name) for name in columns])
    with pa.OSFile(str(staging / f"sorted-{bucket:05d}.arrow")) as file:
        return pa.ipc.open_file(file, options=options).read_all()
