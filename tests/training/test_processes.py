"""Several real processes against one, under every strategy; and one of them that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forja.training.logbook import read_log
from forja.training.pretrain import pretrain
from tiny_training import MODERN, OWN_OUTPUT, section, write_tokens

STRATEGIES = ["ddp", "fsdp", "zero1", "zero2", "zero3"]
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from forja.errors import ForjaError, Interrupted
from forja.tokens.loader import Batches
from forja.training.pretrain import pretrain
from tiny_training import BOTH, ENCODER, MODERN, OWN_OUTPUT, section
models = {"masked": ENCODER, "span-corruption": BOTH, "prefix": BOTH}
tokens, folder, keys, die = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
read = Batches.places_at
def dying(self, step, rank=0, world=1):
    if [step, rank] == die[:2]:
        os.kill(os.getpid(), die[2])
    return read(self, step, rank, world)
if die:
    Batches.places_at = dying
try:
    model = OWN_OUTPUT if "first_weights" in keys else models.get(keys.get("objective"), MODERN)
    pretrain(section(**keys), model, tokens, folder, seed=7)
except ForjaError as error:
    sys.exit(f"forja: {error}")
except Interrupted as asked:
    os._exit(128 + asked.signum)
# Such a thread may abort the process as it ends, about once in ten times on a busy machine.
left = [name for task in Path("/proc/self/task").iterdir() if "gloo" in (name := (task / "comm").read_text())]
sys.exit(f"threads of the process group are left: {left}" if left and not keys["strategy"].startswith("zero") else 0)
"""


def launch(count: int, tokens: Path, folder: Path, die: Any = (), **keys: Any) -> subprocess.CompletedProcess[str]:
    """Train in `count` processes. die: (step, rank, signal) that one of them sends to itself."""
    folder.mkdir(exist_ok=True)
    script = folder.parent / "train.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # DeepSpeed looks for ninja
    command = [sys.executable, "-W", "ignore"]
    if count > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += [str(script), str(tokens), str(folder), json.dumps(keys), json.dumps(list(die))]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)


def losses(folder: Path) -> list[float]:
    return [line.get("loss", line.get("valid_loss")) for line in read_log(folder / "training" / "log.jsonl")]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tiny") / "tokens")


def plan(**keys: Any) -> dict[str, Any]:
    return {"micro_batch": 1, "steps": 20, "valid_every": 5, "checkpoint_every": 5, **keys}


@pytest.fixture(scope="module")
def one(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """One process's losses over 20 steps, and validations."""
    folder = tmp_path_factory.mktemp("one")
    pretrain(section(**plan()), MODERN, tokens, folder, seed=7)
    return losses(folder)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_train_as_one_does_and_their_checkpoint_goes_on_in_one_and_in_four(
    strategy: str, tokens: Path, one: list[float], tmp_path: Path
) -> None:
    ended = launch(2, tokens, tmp_path / "two", **plan(strategy=strategy))
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(one, abs=1e-4)
    for count, goes_on in ((1, "auto"), (4, strategy)):
        folder = tmp_path / f"on-{count}"
        stopped = launch(2, tokens, folder, die=(12, 0, signal.SIGKILL), **plan(strategy=strategy))
        assert stopped.returncode != 0
        assert len(losses(folder)) == 12 + 2
        ended = launch(count, tokens, folder, **plan(strategy=goes_on))
        assert ended.returncode == 0, ended.stderr[-3000:]
        # The checkpoint of step 10 is written beside the steps that follow, and is whole or not there.
        assert re.search(r"going on from step (5|10)\b", ended.stderr)
        assert losses(folder) == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp", "zero3"])
def test_state_kept_in_the_cpus_memory_changes_nothing(
    strategy: str, tokens: Path, one: list[float], tmp_path: Path
) -> None:
    ended = launch(2, tokens, tmp_path / "two", **plan(strategy=strategy, offload=True))
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_begin_with_the_same_bigrams(strategy: str, tokens: Path, tmp_path: Path) -> None:
    keys = plan(first_weights="bigrams")
    (tmp_path / "one").mkdir()
    pretrain(section(**keys), OWN_OUTPUT, tokens, tmp_path / "one", seed=7)
    ended = launch(2, tokens, tmp_path / "two", **keys, strategy=strategy)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["masked", "span-corruption", "prefix"])
def test_the_noise_of_an_objective_is_the_same_for_any_number_of_processes(
    objective: str, tokens: Path, tmp_path: Path
) -> None:
    keys = plan(strategy="auto", objective=objective)
    folders = [tmp_path / "one", tmp_path / "two"]
    for count, folder in enumerate(folders, start=1):
        ended = launch(count, tokens, folder, **keys)
        assert ended.returncode == 0, ended.stderr[-3000:]
    assert losses(folders[1]) == pytest.approx(losses(folders[0]), abs=1e-4)


@pytest.mark.slow
def test_when_one_process_dies_the_others_end_with_it_soon_and_what_was_saved_stays(
    tokens: Path, tmp_path: Path
) -> None:
    start = time.monotonic()
    ended = launch(2, tokens, tmp_path / "w", die=(12, 1, signal.SIGKILL), **plan(strategy="ddp"))
    assert time.monotonic() - start < 90
    assert ended.returncode != 0
    assert "another process of this training has ended" in ended.stderr
    assert "-9" in ended.stderr  # the launcher tells which one, and of what
    names = sorted(path.name for path in (tmp_path / "w" / "checkpoints").iterdir())
    assert names[-1] == "step-00000010"


@pytest.mark.slow
def test_asked_to_stop_all_processes_save_together_and_go_on_later(
    tokens: Path, one: list[float], tmp_path: Path
) -> None:
    ended = launch(2, tokens, tmp_path / "w", die=(12, 1, signal.SIGTERM), **plan(strategy="fsdp"))
    assert ended.returncode != 0
    assert (tmp_path / "w" / "checkpoints" / "step-00000013").is_dir(), ended.stderr[-2000:]
    ended = launch(2, tokens, tmp_path / "w", **plan(strategy="fsdp"))
    assert "going on from step 13" in ended.stderr
    assert losses(tmp_path / "w") == pytest.approx(one, abs=1e-4)
