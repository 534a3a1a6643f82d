"""A run that is killed at any moment, and given again, ends as if it had never been killed."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

from made import environment, forja, tiny_project

STAGES = {
    "corpus": "corpus",
    "tokenizer": "tokenizer",
    "tokens": "tokens",
    "pretrain": "training",
    "export": "model",
    "evaluate": "evaluation",
    "report": "report",
}
"""The stages, and where each leaves its receipt."""
LONG = ("corpus", "tokens", "pretrain")
KILLS_AT_WORK = 3
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
    command = [sys.executable, "-m", "forja", "run", str(recipe), "--quiet"]
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
    for stage, output in STAGES.items():
        for _ in range(12):
            if partial[stage] >= KILLS_AT_WORK or (runs / "tiny" / output / "receipt.json").exists():
                break
            # Soon after its first file, so that the stage is caught at work; some are done milliseconds later.
            partial[stage] += kill_in(stage, recipe, runs, choose.uniform(0, 0.02) if stage in LONG else 0)
            kills += 1
        if stage in LONG and not (runs / "tiny" / output / "receipt.json").exists():
            # Then anywhere, which may be at its end or in the next stage.
            kill_in(stage, recipe, runs, choose.uniform(0, 0.3))
            kills += 1
    ended = forja("run", recipe, "--quiet", runs=runs)
    assert ended.returncode == 0, ended.stderr
    assert kills >= 20
    assert min(partial.values()) >= 2, str(partial)
    assert fingerprints(runs / "tiny") == fingerprints(tmp_path / "whole" / "tiny")
    assert not list((runs / "tiny" / ".building").iterdir())
