"""Encoding and packing against `tokenizers` alone, with the same threads, in turns.

    python benchmarks/tokens.py --data DATA [--megabytes 60] [--rounds 3]

Both encode the same documents by the same tokenizer: `tokenizers` with encode_batch_fast and nothing else; Forja as its
stage does, from Parquet to shards and index on disk, split by document. Prints the share of the bare speed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

import planted
from forja.progress import set_quiet
from forja.recipe import TokenizerSection, TokensSection
from forja.tokens.bpe import train_tokenizer
from forja.tokens.pack import pack_tokens

BATCH_BYTES = 1 << 22


def bare(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Seconds."""
    start = time.monotonic()
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            batch, size = [], 0
    tokenizer.encode_batch_fast(batch, add_special_tokens=False)
    return time.monotonic() - start


def packed(corpus: Path, tokenizer: Path, place: Path) -> float:
    start = time.monotonic()
    pack_tokens(TokensSection(context=256), corpus, tokenizer, place, weights={})
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    set_quiet(True)
    with tempfile.TemporaryDirectory(prefix="forja-bench-") as folder:
        place = Path(folder)
        rows = [
            {"id": f"{number:032x}", "source": "planted", "text": row["text"]}
            for number, row in enumerate(planted.documents(planted.real_sentences(options.data), options.megabytes))
        ]
        (place / "corpus").mkdir()
        pq.write_table(pa.Table.from_pylist(rows), place / "corpus" / "documents-00000.parquet", row_group_size=1024)
        (place / "tokenizer").mkdir()
        train_tokenizer(
            TokenizerSection(vocabulary=32_768, sample_bytes=10_000_000), place / "corpus", place / "tokenizer"
        )
        tokenizer = Tokenizer.from_file(str(place / "tokenizer" / "tokenizer.json"))
        texts = [str(row["text"]) for row in rows]
        size = sum(len(text.encode()) for text in texts) / 1e6
        rounds = [
            (bare(tokenizer, texts), packed(place / "corpus", place / "tokenizer", place / f"tokens{number}"))
            for number in range(options.rounds)
        ]
        one, two = (min(seconds) for seconds in zip(*rounds, strict=True))
        print(f"tokenizers alone {size / one:.2f} MB/s, Forja to disk {size / two:.2f} MB/s: {one / two:.0%}")


if __name__ == "__main__":
    main()
