"""A run that is killed at any moment, and given again, ends as if it had never been killed."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

from made import environment, forja, tiny_project

STAGES = ("corpus", "tokenizer", "tokens", "pretrain", "export", "evaluate", "report")
KILLS_A_STAGE = 3
FINAL = ("model/model.safetensors", "model/config.json", "tokenizer/tokenizer.json", "tokens/train-00000.bin")


def partial_output(run: Path, stage: str) -> bool:
    """Whether the stage's workshop holds more than its plan."""
    place = run / ".building" / stage
    try:
        return any(path.is_file() and path.name != "plan.json" for path in place.rglob("*"))
    except FileNotFoundError:  # files come and go while we look
        return True


def kill_in(stage: str, recipe: Path, runs: Path, delay: float) -> bool:
    """Run, and SIGKILL `delay` seconds after the stage has something on disk; whether partial output remained."""
    command = [sys.executable, "-m", "forja.cli", "run", str(recipe), "--quiet"]
    process = subprocess.Popen(command, env=environment(runs), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    run = runs / "tiny"
    while process.poll() is None and not partial_output(run, stage):
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    _, said = process.communicate()
    assert process.returncode in (-9, 0), said.decode()
    return partial_output(run, stage)


def fingerprints(run: Path) -> dict[str, str]:
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in FINAL}


def test_a_killed_run_ends_as_if_never_killed(tmp_path: Path) -> None:
    recipe = tiny_project(tmp_path / "project", documents=600)
    whole = forja("run", recipe, "--quiet", runs=tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr

    choose = random.Random(20)
    runs = tmp_path / "killed"
    kills, partial = 0, dict.fromkeys(STAGES, 0)
    for stage in STAGES:
        for attempt in range(12):
            if partial[stage] >= 2 and attempt >= KILLS_A_STAGE:
                break
            # Early in the stage at first, so that it is caught at work, then anywhere.
            left = kill_in(stage, recipe, runs, choose.uniform(0, 0.02 if partial[stage] < 2 else 0.4))
            partial[stage] += left
            kills += 1
            if (runs / "tiny" / "report.html").exists():
                break
    ended = forja("run", recipe, "--quiet", runs=runs)
    assert ended.returncode == 0, ended.stderr
    assert kills >= 20
    assert all(count >= 2 for count in partial.values()), partial
    assert fingerprints(runs / "tiny") == fingerprints(tmp_path / "whole" / "tiny")
    assert not list((runs / "tiny" / ".building").iterdir())
