"""The run folder: complete or absent, whatever kills the process; one writer; a ledger that chains."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from forja.errors import ForjaError
from forja.run import Run, digest, find_run, output_digests, write_json_atomic, write_text_atomic


def build(run: Run, text: str, outputs: tuple[str, ...] = ("corpus", "note.txt")) -> None:
    place = run.open_building("corpus", fingerprint=text)
    (place / "corpus").mkdir(exist_ok=True)
    (place / "corpus" / "data").write_text(text)
    (place / "note.txt").write_text(text)
    run.finish("corpus", outputs)


def contents(run: Run) -> tuple[str, str]:
    return (run.folder / "corpus" / "data").read_text(), (run.folder / "note.txt").read_text()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "demo")
    run.folder.mkdir()
    return run


def test_a_finished_stage_replaces_the_old_outputs_whole(run: Run) -> None:
    build(run, "first")
    build(run, "second")
    assert contents(run) == ("second", "second")
    assert not run.building("corpus").exists()


@pytest.mark.parametrize("kill_at", range(1, 6))
def test_a_kill_between_any_two_renames_is_recovered(run: Run, kill_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    build(run, "first")
    real, calls = os.rename, 0

    class Killed(BaseException):
        pass

    def dying(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "rename", dying)
    try:
        build(run, "second")
    except Killed:
        assert kill_at <= 4
    else:
        assert kill_at == 5
    monkeypatch.setattr(os, "rename", real)
    run.recover("corpus")
    assert contents(run) == ("second", "second")
    assert not run.building("corpus").exists()


def test_partial_work_of_the_same_plan_is_kept_and_of_another_is_cleared(run: Run) -> None:
    place = run.open_building("corpus", "plan a")
    (place / "half").write_text("done so far")
    assert (run.open_building("corpus", "plan a") / "half").exists()
    assert not (run.open_building("corpus", "plan b") / "half").exists()


def test_a_damaged_plan_counts_as_another_plan(run: Run) -> None:
    place = run.open_building("corpus", "plan a")
    (place / "plan.json").write_text("{")
    (place / "half").write_text("x")
    assert not (run.open_building("corpus", "plan a") / "half").exists()


def test_a_receipt_with_missing_or_cut_outputs_does_not_count(run: Run) -> None:
    build(run, "text")
    receipt = {"outputs": output_digests(run.folder, ["corpus", "note.txt"])}
    write_json_atomic(run.folder / "corpus" / "receipt.json", receipt)
    assert run.receipt("corpus") is not None
    (run.folder / "note.txt").write_text("t")
    assert run.receipt("corpus") is None
    (run.folder / "note.txt").unlink()
    assert run.receipt("corpus") is None


def test_what_a_kill_left_of_an_unfinished_write_is_no_output(run: Run) -> None:
    build(run, "text")
    (run.folder / "corpus" / ".receipt.json.new").write_text("{")
    assert set(output_digests(run.folder, ["corpus"])) == {"corpus/data"}


def test_what_other_programs_may_change_later_is_no_output(run: Run) -> None:
    folder = run.folder / "corpus" / "shown" / "deep"
    folder.mkdir(parents=True)
    (run.folder / "corpus" / "data").write_text("whole")
    (folder / "database").write_text("grows when it is looked at")
    (folder / "latest").symlink_to("nowhere")
    assert set(output_digests(run.folder, ["corpus"], aside=["corpus/shown"])) == {"corpus/data"}


def test_a_second_process_on_the_same_run_is_refused(run: Run) -> None:
    with run.locked(), pytest.raises(ForjaError, match="another process"), Run(run.folder).locked():
        pass
    with run.locked():
        pass


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_text_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"


def test_the_ledger_chains_and_survives_a_cut_line(run: Run) -> None:
    run.append_ledger({"event": "one"})
    run.append_ledger({"event": "two"})
    path = run.folder / "audit" / "ledger.jsonl"
    with open(path, "a") as file:
        file.write('{"index": 2, "ev')
    run.append_ledger({"event": "three"})
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["event"] for entry in entries] == ["one", "two", "three"]
    assert [entry["index"] for entry in entries] == [0, 1, 2]
    previous = "0" * 64
    for entry in entries:
        claimed = entry.pop("hash")
        assert entry["previous"] == previous
        assert digest(entry) == claimed
        previous = claimed


def test_runs_are_found_by_name_and_by_path(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.folder / "recipe.yaml").write_text("name: demo\n")
    monkeypatch.setenv("FORJA_RUNS", str(run.folder.parent))
    assert find_run("demo") == run.folder.resolve()
    assert find_run(str(run.folder)) == run.folder.resolve()
    with pytest.raises(ForjaError, match="no run 'other'"):
        find_run("other")
