"""Documents to token shards: split by document, encoded over all cores, laid end to end.

Each split is one stream of ids that begins with end-of-text and has one after every document, cut
into flat binary shards; an index says where each document lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from forja.errors import ForjaError
from forja.progress import progress
from forja.recipe import TokensSection
from forja.run import write_json_atomic
from forja.tokens.bpe import load_tokenizer
from forja.tokens.loader import sequences_in

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
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
    for old in workspace.iterdir():
        old.unlink()  # a killed attempt's; encoding again is quick
    tokenizer = load_tokenizer(tokenizer_folder)
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    writers = {split: _Writer(workspace, split, dtype, section.shard_tokens, tokenizer.end_of_text) for split in SPLITS}
    files = sorted(corpus_folder.glob("documents-*.parquet"))
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
    with progress("encoding", total=total, unit="documents") as bar:
        for rows in _batches(files):
            encoded = tokenizer.encode_batch([row["text"] for row in rows])
            for row, ids in zip(rows, encoded, strict=True):
                split = split_of(row["id"], section.valid_fraction, section.test_fraction)
                copies = copies_of(row["id"], weights.get(row["source"], 1.0)) if split == "train" else 1
                for _ in range(copies):
                    writers[split].add(row, ids)
            bar.advance(len(rows))
    figures = {split: writer.finish(section.context, section.overlap) for split, writer in writers.items()}
    _check(figures, section)
    meta = {
        "dtype": dtype.name,
        "vocabulary": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "context": section.context,
        "overlap": section.overlap,
        "splits": figures,
    }
    write_json_atomic(workspace / "meta.json", meta)
    return TokenFigures(dtype.name, figures)


def _batches(files: list[Path]) -> Iterator[list[dict[str, Any]]]:
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=512, columns=["id", "source", "text"]):
            yield batch.to_pylist()


def _check(figures: dict[str, dict[str, int]], section: TokensSection) -> None:
    short = [split for split, found in figures.items() if found["sequences"] < 1]
    if short:
        held = ", ".join(f"{split} {found['tokens']:,}" for split, found in figures.items())
        raise ForjaError(
            f"the {short[0]} split is smaller than one sequence of {section.context} tokens (tokens held: {held}).",
            fix="Give more text, lower tokens.context, or raise tokens.valid_fraction and tokens.test_fraction.",
        )


class _Writer:
    """One split's stream, shard by shard."""

    def __init__(self, folder: Path, split: str, dtype: np.dtype[Any], shard_tokens: int, end_of_text: int) -> None:
        self.folder, self.split, self.dtype = folder, split, dtype
        self.shard_tokens, self.end_of_text = shard_tokens, end_of_text
        self.written = self.documents = self.bytes = self.shard = 0
        self.pending: list[npt.NDArray[Any]] = [np.array([end_of_text], dtype)]
        self.position = self.pending_tokens = 1
        self.index: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any], ids: list[int]) -> None:
        size = len(row["text"].encode())
        entry = {"id": row["id"], "source": row["source"], "start": self.position, "length": len(ids), "bytes": size}
        self.index.append(entry)
        self.pending.append(np.array([*ids, self.end_of_text], self.dtype))
        self.position += len(ids) + 1
        self.pending_tokens += len(ids) + 1
        self.documents += 1
        self.bytes += size
        if self.pending_tokens >= min(self.shard_tokens, 1 << 22):
            self._flush()

    def finish(self, context: int, overlap: int) -> dict[str, int]:
        self._flush()
        table = pa.Table.from_pylist(self.index, schema=INDEX)
        pq.write_table(table, self.folder / f"{self.split}-index.parquet", compression="zstd")
        return {
            "tokens": self.position,
            "documents": self.documents,
            "bytes": self.bytes,
            "sequences": sequences_in(self.position, context, overlap),
        }

    def _flush(self) -> None:
        block = np.concatenate(self.pending) if self.pending else np.empty(0, self.dtype)
        while len(block):
            room = self.shard_tokens - self.written
            with open(self.folder / f"{self.split}-{self.shard:05d}.bin", "ab") as file:
                file.write(block[:room].tobytes())
            self.written += len(block[:room])
            block = block[room:]
            if self.written == self.shard_tokens:
                self.shard, self.written = self.shard + 1, 0
        self.pending, self.pending_tokens = [], 0
