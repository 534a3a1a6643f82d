"""The command line as a user meets it: what works, what it prints, and how it refuses."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from made import environment, forja, sentences, tiny_project, write_corpus


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run `tiny`."""
    folder = tmp_path_factory.mktemp("project")
    recipe = tiny_project(folder)
    done = forja("run", recipe, runs=folder / "runs")
    assert done.returncode == 0, done.stderr
    (folder / "first-run.txt").write_text(done.stdout)
    return folder


def test_a_run_ends_with_a_sample_and_three_commands(project: Path) -> None:
    said = (project / "first-run.txt").read_text()
    assert "A sample" in said
    assert "Perplexity" in said
    assert said.count("  forja ") == 3


def test_a_run_folder_is_laid_out_as_documented(project: Path) -> None:
    run = project / "runs" / "tiny"
    for name in ("recipe.yaml", "metrics.json", "report.html", "audit/ledger.jsonl", "training/log.jsonl"):
        assert (run / name).is_file(), name
    for stage in ("corpus", "tokenizer", "tokens", "training", "model", "evaluation"):
        assert (run / stage / "receipt.json").is_file(), stage
    metrics = json.loads((run / "metrics.json").read_text())
    assert {
        "perplexity.valid",
        "perplexity.test",
        "bits_per_byte.test",
        "perplexity.unigram.test",
        "perplexity.bigram.test",
        "training.tokens",
        "training.tokens_per_second",
        "training.seconds",
        "training.peak_memory_bytes",
        "training.parameters",
        "corpus.documents.kept",
        "corpus.bytes.kept",
        "tokenizer.bytes_per_token",
    } <= metrics.keys()
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert metrics["corpus.documents.kept"] == 300
    assert metrics["perplexity.test"] < metrics["perplexity.unigram.test"]


def test_the_copy_was_rejected_and_keeps_its_own_id(project: Path) -> None:
    rejected = pq.read_table(project / "runs" / "tiny" / "corpus" / "rejected-00000.parquet").to_pylist()
    assert [json.loads(row["meta"])["id"] for row in rejected] in (["copy"], ["doc-0"])
    assert rejected[0]["reason"] == "exact-duplicate"
    assert rejected[0]["duplicate_of"]


def test_a_second_run_does_nothing_and_says_so(project: Path) -> None:
    again = forja("run", project / "tiny.yaml", runs=project / "runs")
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout


def test_the_runs_own_recipe_asks_for_the_same_run(project: Path) -> None:
    again = forja("run", project / "runs" / "tiny" / "recipe.yaml", runs=project / "runs")
    assert "Nothing to do" in again.stdout, again.stderr


def test_a_changed_step_count_runs_again_from_training_on(project: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", project / "runs", tmp_path], check=True)
    done = forja("run", project / "tiny.yaml", "training.steps=20", "--json", runs=tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    status = {stage["stage"]: stage["status"] for stage in json.loads(done.stdout)["stages"]}
    untouched = [name for name, what in status.items() if what == "up to date"]
    assert untouched == ["corpus", "corpus-report", "tokenizer", "tokens"]


def test_generate_streams_and_the_same_seed_gives_the_same_text(project: Path) -> None:
    def generated(seed: str) -> str:
        done = forja("generate", "tiny", "The server", "--seed", seed, "--max-tokens", "16", runs=project / "runs")
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = generated("1")
    assert first.startswith("The server")
    assert generated("1") == first
    assert generated("2") != first


def test_chat_keeps_going_until_an_empty_line(project: Path) -> None:
    done = forja("chat", "tiny", "--max-tokens", "8", runs=project / "runs", stdin="hello\nagain\n\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("you>") == 3


def test_any_text_file_can_be_measured(project: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text(sentences(77, 20))
    done = forja("evaluate", "tiny", "--text", text, "--json", runs=project / "runs")
    assert done.returncode == 0, done.stderr
    assert "perplexity" in done.stdout
    assert "bits_per_byte" in done.stdout


def test_evaluate_and_report_of_a_finished_run_change_nothing(project: Path) -> None:
    before = (project / "runs" / "tiny" / "metrics.json").read_bytes()
    assert forja("evaluate", "tiny", runs=project / "runs").returncode == 0
    assert forja("report", "tiny", runs=project / "runs").returncode == 0
    assert (project / "runs" / "tiny" / "metrics.json").read_bytes() == before


def test_sources_on_the_command_line_replace_the_recipes(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tickets"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(sentences(1000 + number, 10))
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    write_corpus(tmp_path / "dump.jsonl", 30, seed=5)
    done = forja(
        "corpus", project / "tiny.yaml", "--source", folder, "--source", tmp_path / "dump.jsonl", runs=tmp_path / "runs"
    )
    assert done.returncode == 0, done.stderr
    kept = pq.read_table(tmp_path / "runs" / "tiny" / "corpus" / "documents-00000.parquet")
    assert set(kept["source"].to_pylist()) == {"tickets", "dump.jsonl"}
    assert kept.num_rows == 70
    rejected = pq.read_table(tmp_path / "runs" / "tiny" / "corpus" / "rejected-00000.parquet").to_pylist()
    assert any("picture.png" in row["origin"] for row in rejected)
    again = [option for path in (folder, tmp_path / "dump.jsonl") for option in ("--source", path)]
    later = forja("tokenizer", project / "tiny.yaml", *again, "--json", runs=tmp_path / "runs")
    assert json.loads(later.stdout)["stages"][0]["status"] == "up to date", later.stdout


# --- refusals --------------------------------------------------------------------------------


def refused(*arguments: str | Path, runs: Path) -> str:
    """Exit 1, one sentence, no traceback."""
    done = forja(*arguments, runs=runs)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "unforeseen" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("arguments", [("runn",), ("run",), ("run", "demo", "--bogus"), ("generate", "demo")])
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert forja(*arguments, runs=tmp_path).returncode == 2


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "no run 'nothing'" in refused("generate", "nothing", "x", runs=tmp_path)


def test_an_empty_folder_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refused("run", project / "tiny.yaml", "--source", tmp_path / "empty", runs=tmp_path / "runs")
    assert "empty" in said


def test_a_corpus_smaller_than_one_sequence_is_refused(project: Path, tmp_path: Path) -> None:
    said = refused("run", project / "tiny.yaml", "tokens.context=100000", runs=tmp_path / "runs")
    assert "tokens.context" in said


def test_a_vocabulary_larger_than_the_corpus_supports_is_refused(project: Path, tmp_path: Path) -> None:
    said = refused("run", project / "tiny.yaml", "tokenizer.vocabulary=40000", runs=tmp_path / "runs")
    assert "tokenizer.vocabulary" in said


def test_an_earlier_run_survives_a_later_failure(project: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", project / "runs", tmp_path], check=True)
    run = tmp_path / "runs" / "tiny"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".yaml"}
    refused("run", project / "tiny.yaml", "tokenizer.vocabulary=40000", runs=tmp_path / "runs")
    assert all(path.read_bytes() == content for path, content in before.items() if path.name != ".lock")


def test_a_full_disk_is_a_sentence(project: Path, tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path], check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here; needs root")
    try:
        said = refused("run", project / "tiny.yaml", runs=tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert "disk is full" in said


def test_a_file_size_limit_is_a_sentence(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "forja", "run", str(project / "tiny.yaml")]
    limit = 20_000
    done = subprocess.run(
        command,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_sigterm_exits_with_143_and_the_same_command_goes_on(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "forja", "run", str(project / "tiny.yaml"), "training.steps=4000"]
    process = subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
    checkpoints = tmp_path / "tiny" / ".building" / "pretrain" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("step-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143, said
    assert "goes on from here" in said
