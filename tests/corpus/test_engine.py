from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from forja.corpus.engine import open_engine
from forja.errors import ForjaError
from forja.recipe import CorpusSection


def doubled(item: int) -> int:
    return 2 * item


def process_of(item: int) -> int:
    return os.getpid()


def shorter(chunk: bytes) -> bytes:
    return chunk[:10]


def fails(item: int) -> int:
    raise ValueError(f"no good: {item}")


def test_every_item_is_worked_on_once_in_other_processes() -> None:
    engine = open_engine(CorpusSection())
    assert sorted(engine.each(doubled, list(range(20)), size=1 << 30)) == list(range(0, 40, 2))
    assert os.getpid() not in set(engine.each(process_of, list(range(4)), size=1 << 30))
    assert set(engine.each(process_of, list(range(4)), size=1)) == {os.getpid()}, "little work stays here"


def test_every_chunk_of_every_reader_comes_through() -> None:
    readers = [lambda start=start: (b"%08d" % number * 9 for number in range(start, start + 50)) for start in (0, 100)]
    found = sorted(open_engine(CorpusSection()).stream(readers, shorter))
    assert found == sorted((b"%08d" % number * 9)[:10] for number in [*range(50), *range(100, 150)])


def test_reading_waits_where_the_work_is_slow() -> None:
    ahead = 0

    def reader():  # type: ignore[no-untyped-def]
        nonlocal ahead
        for _ in range(200):
            ahead += 1
            yield b"x"

    engine = open_engine(CorpusSection())
    results = engine.stream([reader], shorter)
    for _ in range(3):
        next(results)
    assert ahead < 60, "the reader ran ahead of who waits for it: memory would grow with the corpus"
    assert len(list(results)) == 197


def test_what_failed_in_a_worker_is_one_sentence() -> None:
    with pytest.raises(ForjaError, match="no good"):
        list(open_engine(CorpusSection()).each(fails, [1, 2], size=1 << 30))


def words(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(5000)}" for _ in range(count))


def forja_corpus(place: Path, runs: str, *overrides: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "forja",
        "corpus",
        "demo",
        "--source",
        "in",
        *overrides,
        "corpus.screen.triggers=false",
    ]
    environment = {**os.environ, "FORJA_RUNS": str(place / runs), **variables}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)


def test_a_cluster_of_two_ray_processes_gives_the_same_documents(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    (tmp_path / "in").mkdir()
    for file in range(6):
        lines = []
        for number in range(300):
            text = words(1000 * file + number, 120)
            lines += [{"text": text}, {"text": text + f" near {number}"}] if number % 3 == 0 else [{"text": text}]
        (tmp_path / "in" / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    native = forja_corpus(tmp_path, "native")
    assert native.returncode == 0, native.stderr
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        on_ray = forja_corpus(tmp_path, "ray", "corpus.engine=ray", f"corpus.ray_address={cluster.address}")
    finally:
        cluster.shutdown()
    assert ray is not None
    assert on_ray.returncode == 0, on_ray.stderr
    folders = [tmp_path / runs / "demo" / "corpus" for runs in ("native", "ray")]
    for path in sorted(folders[0].glob("*.parquet")):
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name
    figures = [json.loads((folder / "receipt.json").read_text())["figures"] for folder in folders]
    assert figures[0]["documents"] == figures[1]["documents"]
    assert figures[0]["documents"]["duplicates"] == 600


def test_a_cluster_that_does_not_answer_is_an_error_of_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra `ray`")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text(words(1, 100))
    failed = forja_corpus(tmp_path, "runs", "corpus.engine=ray", "corpus.ray_address=127.0.0.1:1")
    assert failed.returncode == 1
    assert "Ray cluster cannot be joined" in failed.stderr
    assert "Traceback" not in failed.stderr
