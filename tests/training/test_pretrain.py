"""The pretraining stage, whole and killed."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forja.errors import ForjaError
from forja.recipe import ModelSection, OptimizerSection
from forja.training.pretrain import best_checkpoint
from tiny_training import GPT2, MODERN, losses, stop_at, weights, write_tokens
from tiny_training import train as run


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tiny") / "tokens")


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", [GPT2, MODERN], ids=["gpt2", "modern"])
def test_a_resumed_run_computes_the_same_bits(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, model: ModelSection, kind: Any
) -> None:
    keys = {"precision": precision, "optimizer": OptimizerSection(kind=kind)}
    run(tokens, tmp_path / "whole", model, **keys)
    for step in (1, 5, 8, 11):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                run(tokens, tmp_path / "parts", model, **keys)
    run(tokens, tmp_path / "parts", model, **keys)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 12 + 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_resumed_in_its_second_epoch_computes_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """22 sequences are five and a half batches: no epoch ends where a batch does."""
    few = write_tokens(tmp_path / "tokens", train=22 * 16 + 1)
    keys = {"precision": precision, "steps": 16, "checkpoint_every": 1}
    run(few, tmp_path / "whole", **keys)
    for step in (7, 8, 13):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                run(few, tmp_path / "parts", **keys)
    run(few, tmp_path / "parts", **keys)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_early_stopping_counts_on_after_a_resume(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"steps": 200, "valid_every": 2, "patience": 3, "min_delta": 10.0, "checkpoint_every": 1}
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run(tokens, tmp_path / "w", **keys)
    figures = run(tokens, tmp_path / "w", **keys)
    assert (figures.stopped_early, figures.steps, figures.best_step) == (True, 8, 2)


def test_saving_does_not_hold_up_the_steps(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a checkpoint is written, slowly, steps go on: what is written is what was, not what became of it."""
    from forja.training import keeper

    real, events = keeper.save_checkpoint, []

    def slowly(folder: Path, checkpoint: Any) -> Path:
        events.append(f"write {checkpoint.step}")
        time.sleep(0.5)
        place = real(folder, checkpoint)
        events.append(f"written {checkpoint.step}")
        return place

    def step_noted(self: Any, at: int, rank: int = 0, world: int = 1) -> Any:
        events.append(f"step {at + 1}")
        return batches(self, at, rank, world)

    run(tokens, tmp_path / "whole", checkpoint_every=6, valid_every=100)
    from forja.tokens.loader import Batches

    batches = Batches.global_batch
    monkeypatch.setattr(keeper, "save_checkpoint", slowly)
    monkeypatch.setattr(Batches, "global_batch", step_noted)
    run(tokens, tmp_path / "w", checkpoint_every=6, valid_every=100)
    assert events.index("write 6") < events.index("step 8") < events.index("written 6")
    for name in ("step-00000006", "step-00000012"):
        ours, plain = (tmp_path / folder / "checkpoints" / name for folder in ("w", "whole"))
        for file in ("model.safetensors", "optimizer.safetensors"):
            assert (ours / file).read_bytes() == (plain / file).read_bytes()


KILLED = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from tiny_training import GPT2, section
from forja.training.pretrain import pretrain
pretrain(section(steps=60, checkpoint_every=5), GPT2, Path(sys.argv[1]), Path(sys.argv[2]), seed=7)
"""


def test_a_run_killed_at_any_moment_ends_as_if_never_killed(tokens: Path, tmp_path: Path) -> None:
    run(tokens, tmp_path / "whole", steps=60, checkpoint_every=5)
    workspace = tmp_path / "killed"
    workspace.mkdir()
    choose = random.Random(3)
    for _ in range(4):
        before = len(losses(workspace))
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tokens), str(workspace), str(Path(__file__).parents[1])],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and len(losses(workspace)) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(choose.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    run(tokens, workspace, steps=60, checkpoint_every=5)
    assert weights(workspace) == weights(tmp_path / "whole")
    assert losses(workspace) == losses(tmp_path / "whole")


def test_a_finished_run_called_again_trains_nothing(tokens: Path, tmp_path: Path) -> None:
    first = run(tokens, tmp_path / "w")
    again = run(tokens, tmp_path / "w")
    assert (again.steps, again.tokens, again.seconds) == (first.steps, first.tokens, first.seconds)


def test_a_damaged_checkpoint_is_passed_over(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tokens, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 10)
        with pytest.raises(KeyboardInterrupt):
            run(tokens, tmp_path / "w")
    newest = max((tmp_path / "w" / "checkpoints").iterdir())
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    run(tokens, tmp_path / "w")
    assert "damaged" in capsys.readouterr().err
    assert weights(tmp_path / "w") == weights(tmp_path / "whole")


def test_autos_are_resolved_once_and_kept(tokens: Path, tmp_path: Path) -> None:
    auto = {"steps": "auto", "minutes": 0.02, "precision": "auto", "micro_batch": "auto", "compile": "auto"}
    figures = run(tokens, tmp_path / "w", **auto)
    kept = json.loads((tmp_path / "w" / "training" / "resolved.json").read_text())
    assert figures.resolved == kept["resolved"]
    assert figures.steps == kept["resolved"]["steps"] >= 1
    assert kept["measured"]["precision"]["gflops"]["fp32"] > 0
    assert run(tokens, tmp_path / "w", **auto).resolved == figures.resolved


def test_a_loss_that_is_not_finite_is_a_sentence_and_spares_the_checkpoints(tokens: Path, tmp_path: Path) -> None:
    wild = OptimizerSection(rate=1e30, clip=0)
    with pytest.raises(ForjaError, match=r"the loss became .* at step \d+") as caught:
        run(tokens, tmp_path / "w", optimizer=wild, checkpoint_every=1)
    assert "optimizer.rate" in str(caught.value)
    assert list((tmp_path / "w" / "checkpoints").glob("step-*"))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from forja.errors import ForjaError
from forja.training.pretrain import pretrain
from tiny_training import GPT2, section
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    pretrain(section(), GPT2, Path(sys.argv[1]), Path(sys.argv[2]), seed=7)
except ForjaError as error:
    print(error)
"""


def test_a_checkpoint_that_cannot_be_written_is_a_sentence_and_leaves_nothing_half(
    tokens: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", FULL_DISK, str(tokens), str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert "could not be written" in ended.stdout, ended.stderr
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_training_stops_early_and_keeps_the_best(tokens: Path, tmp_path: Path) -> None:
    figures = run(tokens, tmp_path / "w", steps=200, valid_every=2, patience=3, min_delta=10.0)
    assert figures.stopped_early
    assert figures.steps == 8
    assert figures.best_step == 2
    assert best_checkpoint(tmp_path / "w").name == "step-00000002"


def test_only_the_last_checkpoints_and_the_best_are_kept(tokens: Path, tmp_path: Path) -> None:
    run(tokens, tmp_path / "w", steps=20, checkpoint_every=2, valid_every=100, keep_last=3)
    names = sorted(path.name for path in (tmp_path / "w" / "checkpoints").iterdir())
    assert names == ["step-00000016", "step-00000018", "step-00000020"]


def test_micro_batches_change_nothing_but_rounding(tokens: Path, tmp_path: Path) -> None:
    whole = run(tokens, tmp_path / "whole", micro_batch=4)
    parts = run(tokens, tmp_path / "parts", micro_batch=1)
    assert whole.valid_loss is not None
    assert parts.valid_loss is not None
    assert math.isclose(whole.valid_loss, parts.valid_loss, rel_tol=1e-5)


def test_a_corpus_smaller_than_a_sequence_is_a_sentence(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", train=10)
    with pytest.raises(ForjaError, match="less than one sequence"):
        run(tokens, tmp_path / "w")
