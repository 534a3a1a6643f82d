"""Text made here, for tests that run whole stages: seeded, small, and with enough structure to learn."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SUBJECTS = [
    "server",
    "firewall",
    "analyst",
    "attacker",
    "router",
    "password",
    "certificate",
    "kernel",
    "parser",
    "proxy",
]
VERBS = ["blocks", "reads", "forwards", "rejects", "logs", "scans", "encrypts", "copies", "inspects", "rotates"]
PLACES = ["in the lab", "on the network", "behind the gateway", "at night", "during the audit", "without warning"]

TINY_RECIPE = """
forja: 1
name: tiny
corpus:
  sources:
    - path: text.jsonl
tokenizer: { vocabulary: 512 }
tokens: { context: 32, valid_fraction: 0.1, test_fraction: 0.1 }
model: { preset: modern, layers: 2, heads: 2, width: 32, ffn_width: 64 }
training:
  steps: 60
  batch: 8
  optimizer: { kind: muon, rate: 1.0e-2, muon_rate: 0.05, weight_decay: 0.0 }
  micro_batch: 8
  precision: fp32
  compile: false
  threads: 1
  valid_every: 10
  valid_sequences: 4
  checkpoint_every: 10
evaluation: { max_tokens: 2000 }
report: { prompts: ["The server"], temperatures: [0.0, 0.9], sample_tokens: 12 }
"""


def sentences(seed: int, count: int) -> str:
    choose = random.Random(seed)
    said = (
        f"The {choose.choice(SUBJECTS)} {choose.choice(VERBS)} the {choose.choice(SUBJECTS)} {choose.choice(PLACES)}, "
        f"case {choose.randrange(10_000)}."
        for _ in range(count)
    )
    return " ".join(said)


def write_corpus(path: Path, documents: int, seed: int = 0) -> None:
    """JSONL with `id` and `text`, and one exact duplicate."""
    rows = [{"id": f"doc-{number}", "text": sentences(seed * 100_000 + number, 12)} for number in range(documents)]
    rows.append({"id": "copy", "text": rows[0]["text"]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tiny_project(folder: Path, documents: int = 300) -> Path:
    """A folder with a tiny recipe and its text; returns the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder / "text.jsonl", documents)
    recipe = folder / "tiny.yaml"
    recipe.write_text(TINY_RECIPE)
    return recipe


def environment(runs: Path) -> dict[str, str]:
    return {**os.environ, "FORJA_RUNS": str(runs), "OMP_NUM_THREADS": "1"}


def forja(*arguments: str | Path, runs: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "forja", *map(str, arguments)]
    return subprocess.run(command, env=environment(runs), input=stdin, capture_output=True, text=True, timeout=600)


def write_documents(folder: Path, texts: list[str], source: str = "made") -> None:
    """A corpus folder of these texts, as the corpus stage would leave it."""
    rows = [{"id": hashlib.sha256(text.encode()).hexdigest()[:32], "source": source, "text": text} for text in texts]
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]))
    pq.write_table(table, folder / "documents-00000.parquet")
