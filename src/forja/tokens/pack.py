"""Documents to token shards: split by document, encoded over all cores, laid end to end.

Each split is one stream of ids that begins with end-of-text and has one after every document, cut
into flat binary shards; an index says where each document lies. Documents of a source that weighs more
than 1 come again in later rounds, behind all others, never right after themselves.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from forja.errors import ForjaError
from forja.progress import Bar, progress
from forja.recipe import TokensSection
from forja.run import write_json_atomic
from forja.tokens.bpe import RESERVED, SENTINELS, Tokenizer, load_tokenizer
from forja.tokens.loader import sequences_in

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
BATCH_BYTES = 1 << 22
"""Text encoded at once, so that memory stays small whatever the documents' length."""
BATCH_ROWS = 2048
AHEAD = 2
"""Batches in the encoding while one is written."""
INDEX_ROWS = 1 << 16
BUFFER_TOKENS = 1 << 20
SHORTEST_CONTEXT = 8
"""What the recipe allows."""
Row = dict[str, Any]
Encoded = tuple[Row, list[int]]
INDEX = pa.schema(
    [("id", pa.string()), ("source", pa.string()), ("start", pa.int64()), ("length", pa.int64()), ("bytes", pa.int64())]
)


@dataclass(frozen=True)
class TokenFigures:
    """Per split: tokens, documents, bytes of text and whole sequences."""

    dtype: str
    splits: dict[str, dict[str, int]]


def split_of(identity: str, valid_fraction: float, test_fraction: float) -> Split:
    """The split of a document, by a hash of its id alone: it stays there however the corpus grows."""
    place = xxhash.xxh3_64_intdigest(f"split:{identity}".encode()) / 2**64
    if place < valid_fraction:
        return "valid"
    return "test" if place < valid_fraction + test_fraction else "train"


def copies_of(identity: str, weight: float) -> int:
    """How often a training document is taken: the whole part of the weight, and once more for a part of the ids."""
    whole = int(weight)
    return whole + (xxhash.xxh3_64_intdigest(f"weight:{identity}".encode()) / 2**64 < weight - whole)


def pack_tokens(
    section: TokensSection, corpus_folder: Path, tokenizer_folder: Path, workspace: Path, *, weights: dict[str, float]
) -> TokenFigures:
    """Encode and pack the corpus into `workspace`. weights: per source name, 1 where absent.

    Raises ForjaError where a split would not hold one whole sequence.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.bin", "*-index.parquet", "meta.json"):
        for old in workspace.glob(pattern):
            old.unlink()  # a killed attempt's; encoding again is quick
    tokenizer = load_tokenizer(tokenizer_folder)
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    writers = {split: _Writer(workspace, split, dtype, section.shard_tokens, tokenizer.end_of_text) for split in SPLITS}
    files = sorted(corpus_folder.glob("documents-*.parquet"))
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in files)

    def placed(row: Row) -> Split:
        return split_of(row["id"], section.valid_fraction, section.test_fraction)

    def copies(row: Row) -> int:
        return copies_of(row["id"], weights.get(row["source"], 1.0)) if placed(row) == "train" else 1

    for number in range(max(1, *map(math.ceil, weights.values())) if weights else 1):
        title = "encoding" if number == 0 else f"encoding weighted documents again ({number})"
        with progress(title, total=total, unit="documents") as bar:

            def wanted(row: Row, number: int = number, bar: Bar = bar) -> bool:
                bar.advance()
                return copies(row) > number

            for row, ids in _encoded(tokenizer, _batches(files, wanted)):
                writers[placed(row)].add(row, ids)
    figures: dict[str, dict[str, int]] = {
        split: writer.finish(section.context, section.overlap) for split, writer in writers.items()
    }
    _check(figures, section)
    meta = {
        "dtype": dtype.name,
        "vocabulary": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "pad": tokenizer.control("<|pad|>"),
        "mask": tokenizer.control("<|mask|>"),
        "first_sentinel": tokenizer.control("<|sentinel_0|>"),
        "sentinels": SENTINELS,
        "first_ordinary": RESERVED,
        "context": section.context,
        "overlap": section.overlap,
        "splits": figures,
    }
    write_json_atomic(workspace / "meta.json", meta)
    return TokenFigures(dtype.name, figures)


def _batches(files: list[Path], wanted: Callable[[Row], bool]) -> Iterator[list[Row]]:
    """The wanted documents in order, about BATCH_BYTES of text at a time."""
    rows: list[Row] = []
    size = 0
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=["id", "source", "text"]):
            for row in filter(wanted, batch.to_pylist()):
                rows.append(row)
                size += len(row["text"])
                if size >= BATCH_BYTES or len(rows) >= BATCH_ROWS:
                    yield rows
                    rows, size = [], 0
    if rows:
        yield rows


def _encoded(tokenizer: Tokenizer, batches: Iterator[list[Row]]) -> Iterator[Encoded]:
    """Documents with their ids, in order. While one batch is written and the ids of another become Python's, which
    take one core, a third is encoded."""
    with ThreadPoolExecutor(AHEAD) as ahead:
        waiting: deque[tuple[list[Row], Future[list[list[int]]]]] = deque()
        for rows in batches:
            waiting.append((rows, ahead.submit(tokenizer.encode_batch, [row["text"] for row in rows])))
            if len(waiting) > AHEAD:
                before, result = waiting.popleft()
                yield from zip(before, result.result(), strict=True)
        for before, result in waiting:
            yield from zip(before, result.result(), strict=True)


def _check(figures: dict[str, dict[str, int]], section: TokensSection) -> None:
    short = [split for split, found in figures.items() if found["sequences"] < 1]
    if not short:
        return
    held = ", ".join(f"{split} {found['tokens']:,} in {found['documents']:,}" for split, found in figures.items())
    # A sequence takes context + 1 tokens, as its last one is only a target.
    fits = min(found["tokens"] for found in figures.values()) - 1
    lower = f"lower tokens.context to {fits} or less, or " if fits >= SHORTEST_CONTEXT else ""
    share = "" if "train" in short else f" or a larger tokens.{short[0]}_fraction"
    raise ForjaError(
        f"the corpus is smaller than one sequence: the {short[0]} split does not fill tokens.context="
        f"{section.context} (tokens held, and documents: {held}).",
        where="tokens",
        fix=f"Either {lower}give more text{share}." if lower or share else "Give more text.",
    )


class _Writer:
    """One split's stream, shard by shard, and its index."""

    def __init__(self, folder: Path, split: str, dtype: np.dtype[Any], shard_tokens: int, end_of_text: int) -> None:
        self.folder, self.split, self.dtype = folder, split, dtype
        self.shard_tokens, self.end_of_text = shard_tokens, end_of_text
        self.written = self.documents = self.bytes = self.shard = 0
        self.pending: list[npt.NDArray[Any]] = [np.array([end_of_text], dtype)]
        self.position = self.pending_tokens = 1
        self.rows: list[Row] = []
        self.index = pq.ParquetWriter(folder / f"{split}-index.parquet", INDEX, compression="zstd")

    def add(self, row: Row, ids: list[int]) -> None:
        size = len(row["text"].encode())
        entry = {"id": row["id"], "source": row["source"], "start": self.position, "length": len(ids), "bytes": size}
        self.rows.append(entry)
        ids.append(self.end_of_text)
        self.pending.append(np.fromiter(ids, self.dtype, len(ids)))
        self.position += len(ids)
        self.pending_tokens += len(ids)
        self.documents += 1
        self.bytes += size
        if self.pending_tokens >= BUFFER_TOKENS:
            self._flush_tokens()
        if len(self.rows) >= INDEX_ROWS:
            self._flush_index()

    def finish(self, context: int, overlap: int) -> dict[str, int]:
        self._flush_tokens()
        self._flush_index()
        self.index.close()
        return {
            "tokens": self.position,
            "documents": self.documents,
            "bytes": self.bytes,
            "sequences": sequences_in(self.position, context, overlap),
        }

    def _flush_tokens(self) -> None:
        block = np.concatenate(self.pending) if self.pending else np.empty(0, self.dtype)
        while len(block):
            room = self.shard_tokens - self.written
            with open(self.folder / f"{self.split}-{self.shard:05d}.bin", "ab") as file:
                file.write(block[:room].data)
                file.flush()
                os.fsync(file.fileno())
            self.written += len(block[:room])
            block = block[room:]
            if self.written == self.shard_tokens:
                self.shard, self.written = self.shard + 1, 0
        self.pending, self.pending_tokens = [], 0

    def _flush_index(self) -> None:
        self.index.write_table(pa.Table.from_pylist(self.rows, schema=INDEX))
        self.rows = []
