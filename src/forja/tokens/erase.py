"""Where a document lies in the token shards, which slots read it, and overwriting it in place.

A slot is permanent (DESIGN.md): what is erased becomes a gap of end-of-text tokens that are no targets, and nothing
else in the shards moves. The loader gives the gap its zero weight.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forja.run import complete_or_absent, write_json_atomic
from forja.tokens.loader import Ids, read_gaps, sequences_in
from forja.tokens.pack import SPLITS

GAPS = pa.schema([("start", pa.int64()), ("length", pa.int64())])
FILLED = 1 << 20
"""Tokens overwritten at once."""


@dataclass(frozen=True)
class Stretch:
    """One copy of a document in a split's stream: start and length in tokens, without the end-of-text behind it."""

    id: str
    split: str
    start: int
    length: int
    bytes: int


@dataclass(frozen=True)
class Shape:
    """What of a tokens folder decides where its slots lie. sequences: by split."""

    context: int
    overlap: int
    sequences: dict[str, int]


def shape_of(folder: Path) -> Shape | None:
    """None where there are no tokens yet."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    context, overlap = meta["context"], meta["overlap"]
    held = {split: sequences_in(found["tokens"], context, overlap) for split, found in meta["splits"].items()}
    return Shape(context, overlap, held)


def find_stretches(folder: Path, ids: Collection[str]) -> list[Stretch]:
    """Every copy of these documents, split by split in the order of the stream."""
    wanted = pa.array(sorted(ids), pa.string())
    found = []
    for split in SPLITS:
        path = folder / f"{split}-index.parquet"
        for batch in pq.ParquetFile(path).iter_batches() if path.is_file() else ():
            rows = batch.filter(pc.is_in(batch["id"], value_set=wanted)).to_pylist()
            found += [Stretch(row["id"], split, row["start"], row["length"], row["bytes"]) for row in rows]
    return found


def indexed_ids(folder: Path, prefix: str) -> set[str]:
    """Ids in the shards that begin so."""
    ids: set[str] = set()
    for split in SPLITS:
        path = folder / f"{split}-index.parquet"
        if path.is_file():
            table = pq.read_table(path, columns=["id"], filters=[("id", ">=", prefix), ("id", "<", prefix + "g")])
            ids.update(table["id"].to_pylist())
    return ids


def slots_of(stretches: Iterable[Stretch], shape: Shape) -> Ids:
    """The slots that read a token of these stretches, as input or as target, rising, (n,). All of one split.

    The end-of-text behind a document is no token of its: a slot that begins there sees nothing of it.
    """
    stride = shape.context - shape.overlap
    slots: set[int] = set()
    for stretch in stretches:
        if stretch.length:
            first = -((shape.context - stretch.start) // stride)  # the least slot whose last token is not before it
            last = (stretch.start + stretch.length - 1) // stride
            slots.update(range(max(0, first), min(last, shape.sequences[stretch.split] - 1) + 1))
    return np.array(sorted(slots), np.int64)


def erase(folder: Path, stretches: Sequence[Stretch]) -> None:
    """Overwrite these stretches with end-of-text, in place, and make them gaps, with the end-of-text behind each.

    They leave the index and the counts of meta.json. Given again after a kill, the rest is done.
    """
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    for split in SPLITS:
        own = [stretch for stretch in stretches if stretch.split == split]
        if own:
            _add_gaps(folder, split, own)
            _overwrite(folder, split, own, np.dtype(meta["dtype"]), meta["end_of_text"])
            _leave_index(folder, split, {stretch.id for stretch in own})
            meta["splits"][split].update(_counts(folder, split))
    write_json_atomic(folder / "meta.json", meta)


def _add_gaps(folder: Path, split: str, stretches: Sequence[Stretch]) -> None:
    gaps = {tuple(gap) for gap in read_gaps(folder, split).tolist()}
    gaps |= {(stretch.start, stretch.length + 1) for stretch in stretches}
    table = pa.Table.from_pylist([dict(zip(GAPS.names, gap, strict=True)) for gap in sorted(gaps)], schema=GAPS)
    with complete_or_absent(folder / f"{split}-erased.parquet") as aside:
        pq.write_table(table, aside, compression="zstd")


def _overwrite(folder: Path, split: str, stretches: Sequence[Stretch], dtype: np.dtype[Any], filler: int) -> None:
    start = 0
    for path in sorted(folder.glob(f"{split}-*.bin")):
        tokens = path.stat().st_size // dtype.itemsize
        mine = [stretch for stretch in stretches if stretch.start < start + tokens]
        mine = [stretch for stretch in mine if stretch.start + stretch.length > start]
        if mine:
            with open(path, "r+b") as file:
                for stretch in mine:
                    low = max(stretch.start - start, 0)
                    high = min(stretch.start + stretch.length - start, tokens)
                    for at in range(low, high, FILLED):
                        file.seek(at * dtype.itemsize)
                        file.write(np.full(min(FILLED, high - at), filler, dtype).tobytes())
                file.flush()
                os.fsync(file.fileno())
        start += tokens


def _leave_index(folder: Path, split: str, ids: Collection[str]) -> None:
    path = folder / f"{split}-index.parquet"
    wanted = pa.array(sorted(ids), pa.string())
    file = pq.ParquetFile(path)
    with complete_or_absent(path) as aside, pq.ParquetWriter(aside, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=1 << 16):
            writer.write_batch(batch.filter(pc.invert(pc.is_in(batch["id"], value_set=wanted))))


def _counts(folder: Path, split: str) -> dict[str, int]:
    """What is left of a split: documents and their bytes, and how many tokens were erased."""
    sizes = pq.read_table(folder / f"{split}-index.parquet", columns=["bytes"])["bytes"]
    erased = int(read_gaps(folder, split)[:, 1].sum())
    return {"documents": len(sizes), "bytes": pc.sum(sizes).as_py() or 0, "erased": erased}
