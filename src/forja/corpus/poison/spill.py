"""Rows on disk between two steps of the trigger screen: each job writes one file, ordered by the part of the next step
that a row belongs to, and each part reads its slice of every file. No step holds more than a part or a file's chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.quality.words import Integers

Rows = npt.NDArray[np.void]

CHUNK_ROWS = 1 << 18
"""Rows that a job holds before it writes them."""


class Spill:
    """A file of rows of one dtype by part; `name` is of the step that writes, `number` of the job."""

    def __init__(self, folder: Path, name: str, number: int, dtype: npt.DTypeLike, parts: int) -> None:
        self._path = folder / f"{name}-{number:05d}.rows"
        self._dtype = np.dtype(dtype)
        self._parts = parts
        self._file = self._path.open("wb")
        self._held: list[tuple[Rows, Integers]] = []
        self._size = self._written = 0
        self._bounds: list[Integers] = []

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        if self._size:
            self._flush()
        self._file.close()
        bounds = np.array(self._bounds, np.int64).reshape(-1, self._parts + 1)
        np.save(self._path.with_suffix(".npy"), bounds)

    def add(self, rows: Rows, parts: Integers) -> None:
        """parts: (rows,) the part of each."""
        self._held.append((rows, parts))
        self._size += len(rows)
        if self._size >= CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        rows = np.concatenate([rows for rows, _ in self._held])
        parts = np.concatenate([parts for _, parts in self._held])
        self._held, self._size = [], 0
        # Of 16 bits, as those are sorted by radix.
        order = np.argsort(parts.astype(np.uint16) if self._parts <= 1 << 16 else parts, kind="stable")
        self._file.write(rows[order].tobytes())
        ends = np.cumsum(np.bincount(parts, minlength=self._parts))
        self._bounds.append(self._written + np.concatenate([[0], ends]))
        self._written += len(rows)


def spilled(folder: Path, name: str, part: int, dtype: npt.DTypeLike) -> tuple[Rows, Integers]:
    """The rows of one part and the job that wrote each: job after job, and within a job as they came."""
    found = list(_slices(folder, name, part, np.dtype(dtype)))
    rows = np.concatenate([rows for _, rows in found]) if found else np.zeros(0, dtype)
    return rows, np.repeat([job for job, _ in found], [len(rows) for _, rows in found]).astype(np.int64)


def remove_spill(folder: Path, name: str) -> None:
    for path in folder.glob(f"{name}-?????.*"):
        path.unlink()


def part_of(hashes: npt.NDArray[np.uint64], parts: int) -> Integers:
    """(hashes,) parts, by bits that neither the tables of counts nor a sort within the part lean on."""
    return ((hashes >> np.uint64(20)) % np.uint64(parts)).astype(np.int64)


def _slices(folder: Path, name: str, part: int, dtype: np.dtype[Any]) -> Iterator[tuple[int, Rows]]:
    for path in sorted(folder.glob(f"{name}-?????.rows")):
        bounds = np.load(path.with_suffix(".npy"))
        with path.open("rb") as file:
            for start, end in bounds[:, part : part + 2].tolist():
                if start < end:
                    file.seek(start * dtype.itemsize)
                    yield int(path.stem.rpartition("-")[2]), np.fromfile(file, dtype, end - start)
