"""What goes wrong while training: memory, clocks, signals, numbers, disks, and checkpoints of something else."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from forja.errors import ForjaError, Interrupted
from forja.recipe import OptimizerSection
from forja.recipe.training import DivergenceSection
from forja.tokens.loader import Batch, Batches
from forja.training import machine
from forja.training.checkpoints import list_checkpoints
from forja.training.learner import Learner
from forja.training.logbook import read_log
from forja.training.micro_batch import largest_micro_batch
from forja.training.rules import MeanGradient
from forja.training.strategy import OneProcess
from tiny_training import GPT2, MODERN, losses, section, stop_at, tamper, weights, write_tokens
from tiny_training import train as run


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tiny") / "tokens")


# --- memory --------------------------------------------------------------------------------------


class Small:
    """An objective whose device has room for `room` examples at a time."""

    def __init__(self, room: int) -> None:
        self.room, self.sizes = room, list[int]()

    def __call__(self, model: Any, batch: Batch) -> Any:
        from forja.training.objectives import next_token

        self.sizes.append(len(batch.inputs))
        if len(batch.inputs) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return next_token(model, batch)


def first_gradients(tokens: Path, room: int, micro_batch: int) -> tuple[list[int], int, list[Any]]:
    from forja.models.presets import resolve_config
    from forja.models.transformer import Transformer
    from forja.tokens.loader import TokenSplit

    split = TokenSplit.open(tokens, "train")
    model = Transformer(resolve_config(GPT2, vocabulary=split.vocabulary, context=split.context))
    model.init_weights(1)
    objective, rule = Small(room), MeanGradient(micro_batch)
    batch = Batches(split, batch_size=8, seed=1).global_batch(0)
    figures = rule.gradients(Learner(model, objective), batch, OneProcess())
    return objective.sizes, rule.micro_batch, [figures, *(p.grad for p in model.parameters())]


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_global_batch(
    tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes, left, (figures, *slopes) = first_gradients(tokens, room=2, micro_batch=8)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert left == 2
    assert "micro-batches are 2 from here on" in capsys.readouterr().err
    _, _, (expected, *whole) = first_gradients(tokens, room=2, micro_batch=2)
    assert figures == expected
    assert all(torch.equal(a, b) for a, b in zip(slopes, whole, strict=True))


def test_a_micro_batch_once_halved_stays_so_after_a_resume() -> None:
    rule = MeanGradient(8)
    rule.load_state({**rule.state(), "micro_batch": 2})
    assert rule.micro_batch == 2


def test_trying_micro_batches_finds_the_one_that_fits(tokens: Path) -> None:
    from forja.models.presets import resolve_config
    from forja.models.transformer import Transformer
    from forja.tokens.loader import TokenSplit
    from forja.training.micro_batch import _on_gpu
    from forja.training.resolve import Resolved, Trial, Work

    split = TokenSplit.open(tokens, "train")
    model = Transformer(resolve_config(GPT2, vocabulary=split.vocabulary, context=split.context))
    model.init_weights(1)
    objective = Small(room=3)
    work = Work(model, objective, Batches(split, batch_size=12, seed=1), split.sequences)

    def trial(size: int) -> int:
        return Trial(work, section(), Resolved(1, "fp32", 12, size, False, 1, "fused")).fill()

    assert _on_gpu(trial, [12, 6, 4, 3, 2, 1])[0] == 3
    assert objective.sizes == [1, 12, 6, 3, 3, 3, 3]


def test_one_example_too_many_is_a_sentence(tokens: Path) -> None:
    with pytest.raises(ForjaError, match="not enough memory for micro-batches of 1") as caught:
        first_gradients(tokens, room=0, micro_batch=4)
    assert "gradient_checkpointing" in str(caught.value)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A control group of our own; skipped, aloud, where none can be made."""
    for top, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        place = top / f"forja-test-{os.getpid()}"
        try:
            place.mkdir()
        except OSError:
            continue
        if (place / limit).exists():
            yield place
            place.rmdir()
            return
        shutil.rmtree(place, ignore_errors=True)
    pytest.skip("no control group can be made here: the limit on memory is tested on made files only")


LIMITED = """
import json, os, sys
from pathlib import Path
group, limit, micro_batch = Path(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])
(group / "cgroup.procs").write_text(str(os.getpid()))
import torch
from forja.recipe import ModelSection
from forja.training.pretrain import pretrain
from tiny_training import section
wanted = section(micro_batch=micro_batch, batch=32, steps=2, valid_every=2, valid_sequences=1)
name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
(group / name).write_text(limit)
model = ModelSection(preset="gpt2", layers=8, heads=8, width=256)
pretrain(wanted, model, Path(sys.argv[1]), Path(sys.argv[2]), seed=7)
print((Path(sys.argv[2]) / "training" / "resolved.json").read_text().replace("\\n", ""))
"""


@pytest.mark.slow
def test_a_micro_batch_fits_under_a_limit_that_kills_a_larger_one(tmp_path: Path, cgroup: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", train=40_000, valid=2_000, context=256)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    def limited(micro_batch: Any) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / f"w-{micro_batch}"
        folder.mkdir()
        command = [sys.executable, "-c", LIMITED, str(tokens), str(folder), str(cgroup), str(1100 * 2**20)]
        command.append(json.dumps(micro_batch))
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert limited(32).returncode == -signal.SIGKILL
    ended = limited("auto")
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])["resolved"]["micro_batch"]
    assert 1 <= found < 32


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_limit_of_the_control_groups_above_counts(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "cgroup"
    under = top if version == 2 else top / "memory"
    (under / "job" / "step").mkdir(parents=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for folder, limit in ((under, "max"), (under / "job", str(300 * 2**20)), (under / "job" / "step", str(2**50))):
        (folder / names[0]).write_text(limit + "\n")
        (folder / names[1]).write_text(str(100 * 2**20) + "\n")
    (under / "job" / "memory.stat").write_text(f"cache 7\ninactive_file {2**20}\n")
    (tmp_path / "own").write_text("0::/job/step\n" if version == 2 else "4:cpu:/\n3:memory:/job/step\n")
    monkeypatch.setattr(machine, "CGROUP", top)
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    assert machine.available_memory() == 201 * 2**20


def test_what_a_step_needs_decides_the_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for room in (400, 500, 10_000):
        monkeypatch.setattr("forja.training.micro_batch.available_memory", lambda room=room: room * 2**20)
        found[room], _ = largest_micro_batch(lambda size: size, lambda size: (60 + 20 * size) * 2**20, 24, 16)
    assert found == {400: 6, 500: 8, 10_000: 24}
    monkeypatch.setattr("forja.training.micro_batch.available_memory", lambda: 200 * 2**20)
    with pytest.raises(ForjaError, match=r"it takes 0\.1 GB for one sequence at a time, and of the 0\.2 GB"):
        largest_micro_batch(lambda size: size, lambda size: (60 + 20 * size) * 2**20, 24, 16)


# --- being asked to stop ---------------------------------------------------------------------------

STOPPED = """
import os, signal, sys, time
from pathlib import Path
from forja.errors import Interrupted
from forja.tokens.loader import Batches
from forja.training.pretrain import pretrain
from tiny_training import GPT2, section
real = Batches.global_batch
def slowly(self, step, rank=0, world=1):
    if step == 20:
        Path(sys.argv[2], "there").touch()
    time.sleep(0.02 if step < 20 else 0.3)
    return real(self, step, rank, world)
Batches.global_batch = slowly
try:
    pretrain(section(steps=60, checkpoint_every=50, valid_every=30), GPT2, Path(sys.argv[1]), Path(sys.argv[2]), seed=7)
except Interrupted as asked:
    sys.exit(128 + asked.signum)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_goes_on_later_to_the_same_bits(number: int, tokens: Path, tmp_path: Path) -> None:
    keys = {"steps": 60, "checkpoint_every": 50, "valid_every": 30}
    run(tokens, tmp_path / "whole", **keys)
    workspace = tmp_path / "stopped"
    workspace.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", STOPPED, str(tokens), str(workspace)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not (workspace / "there").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    (saved,) = list_checkpoints(workspace / "checkpoints")
    assert 20 <= saved < 30  # where it was, and not where the recipe would save
    run(tokens, workspace, **keys)
    assert weights(workspace) == weights(tmp_path / "whole")
    assert losses(workspace) == losses(tmp_path / "whole")
    names = [list_checkpoints(tmp_path / name / "checkpoints") for name in ("whole", "stopped")]
    assert names[0] == names[1]


def test_a_step_that_takes_long_is_given_up_for_the_one_before(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spot machine gives two minutes, and a step on a CPU may take longer."""
    run(tokens, tmp_path / "whole", checkpoint_every=50)
    real = MeanGradient._gradients

    def asked_within(self: MeanGradient, *given: Any) -> Any:
        figures = real(self, *given)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        return figures

    with monkeypatch.context() as patch:
        patch.setattr(MeanGradient, "_gradients", asked_within)
        with pytest.raises(Interrupted) as caught:
            run(tokens, tmp_path / "w", checkpoint_every=50)
    assert caught.value.signum == signal.SIGTERM
    assert losses(tmp_path / "w") == []  # no step was done, and so none is saved
    run(tokens, tmp_path / "w", checkpoint_every=50)
    assert losses(tmp_path / "w") == losses(tmp_path / "whole")


def test_a_clock_that_jumps_changes_nothing(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tokens, tmp_path / "whole")
    jumps = iter(range(10**6))

    def tamper_clock(step: int, batch: Batch) -> Batch:
        number = next(jumps)
        monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0 * (-1) ** number + number)
        return batch

    tamper(monkeypatch, tamper_clock)
    figures = run(tokens, tmp_path / "jumped")
    assert weights(tmp_path / "jumped") == weights(tmp_path / "whole")
    assert 0 < figures.seconds < 600
    assert all(line["seconds"] > 0 for line in read_log(tmp_path / "jumped" / "training" / "log.jsonl"))


# --- divergence ------------------------------------------------------------------------------------


def rates_of(workspace: Path) -> dict[int, float]:
    lines = read_log(workspace / "training" / "log.jsonl")
    return {line["step"]: line["lr"] for line in lines if "lr" in line}


def poisoned(at: int, times: int) -> Callable[[int, Batch], Batch]:
    """The batch at step `at` is worth no number, the first `times` that it is asked for."""
    seen = {"times": 0}

    def change(step: int, batch: Batch) -> Batch:
        if step != at or seen["times"] >= times:
            return batch
        seen["times"] += 1
        return batch._replace(weights=torch.full(batch.inputs.shape, math.nan))

    return change


def test_a_loss_that_is_no_number_goes_back_and_on_with_half_the_rate(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(monkeypatch, poisoned(at=7, times=1))
    figures = run(tokens, tmp_path / "w", steps=20, valid_every=100)
    assert "going back to step 6, and on with half the rate" in capsys.readouterr().err
    assert (figures.steps, figures.rollbacks) == (20, 1)
    rates = rates_of(tmp_path / "w")
    assert sorted(rates) == list(range(1, 21))
    run(tokens, tmp_path / "plain", steps=20, valid_every=100)
    plain = {
        line["step"]: line["lr"] for line in read_log(tmp_path / "plain" / "training" / "log.jsonl") if "lr" in line
    }
    assert all(rates[step] == plain[step] for step in range(1, 7))
    assert all(rates[step] == pytest.approx(plain[step] / 2) for step in range(7, 21))


def test_a_batch_that_always_diverges_is_left_out(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(monkeypatch, poisoned(at=7, times=100))
    run(tokens, tmp_path / "w", steps=20, divergence=DivergenceSection(action="skip"))
    assert "without the last batch" in capsys.readouterr().err
    steps = [line["step"] for line in read_log(tmp_path / "w" / "training" / "log.jsonl") if "loss" in line]
    assert steps == [*range(1, 8), *range(9, 21)]


@pytest.mark.parametrize("action", ["skip", "lower-rate"])
def test_a_run_that_went_back_and_is_killed_afterwards_ends_as_if_never_killed(
    action: Any, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"steps": 24, "divergence": DivergenceSection(action=action)}
    poison = poisoned(at=7, times=1 if action == "lower-rate" else 100)
    with monkeypatch.context() as patch:
        tamper(patch, poison)
        run(tokens, tmp_path / "whole", **keys)

    def dies(at: int, poison: Callable[[int, Batch], Batch]) -> Callable[[int, Batch], Batch]:
        def change(step: int, batch: Batch) -> Batch:
            if step == at:
                raise KeyboardInterrupt
            return poison(step, batch)

        return change

    poison = poisoned(at=7, times=1 if action == "lower-rate" else 100)
    for at in (9, 16):
        with monkeypatch.context() as patch:
            tamper(patch, dies(at, poison))
            with pytest.raises(KeyboardInterrupt):
                run(tokens, tmp_path / "w", **keys)
    with monkeypatch.context() as patch:
        tamper(patch, poison)
        run(tokens, tmp_path / "w", **keys)
    assert weights(tmp_path / "w") == weights(tmp_path / "whole")
    assert losses(tmp_path / "w") == losses(tmp_path / "whole")


def test_a_leap_of_the_loss_counts_as_divergence(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from forja.training import rules

    real, seen = rules.MeanGradient.gradients, {"steps": 0}

    def leaping(self: MeanGradient, *given: Any) -> Any:
        seen["steps"] += 1
        figures = real(self, *given)
        return figures._replace(loss=figures.loss + 5) if seen["steps"] == 30 else figures

    monkeypatch.setattr(rules.MeanGradient, "gradients", leaping)
    figures = run(tokens, tmp_path / "w", steps=40, valid_every=100, checkpoint_every=10)
    assert "the loss leapt from about" in capsys.readouterr().err
    assert figures.rollbacks == 1


def test_after_its_last_remedy_a_run_stops_with_a_sentence(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamper(monkeypatch, poisoned(at=7, times=100))
    with pytest.raises(ForjaError, match="the loss became nan at step 8") as caught:
        run(tokens, tmp_path / "w", steps=20, divergence=DivergenceSection(rollbacks=2))
    assert "checkpoint of step 6 is untouched" in str(caught.value)
    assert len(json.loads((tmp_path / "w" / "training" / "remedies.json").read_text())) == 2


# --- checkpoints of something else -----------------------------------------------------------------


def test_another_models_checkpoint_is_refused_and_kept(tokens: Path, tmp_path: Path) -> None:
    run(tokens, tmp_path / "w")
    before = list_checkpoints(tmp_path / "w" / "checkpoints")
    with pytest.raises(ForjaError, match="the weights are another model's") as caught:
        run(tokens, tmp_path / "w", MODERN, steps=20)
    assert "--name" in str(caught.value)
    assert list_checkpoints(tmp_path / "w" / "checkpoints") == before


def test_another_optimizers_checkpoint_is_refused_and_kept(tokens: Path, tmp_path: Path) -> None:
    run(tokens, tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "training")
    with pytest.raises(ForjaError, match="the checkpoint's optimizer is not this one"):
        run(tokens, tmp_path / "w", steps=20, optimizer=OptimizerSection(kind="muon"))
    assert list_checkpoints(tmp_path / "w" / "checkpoints")


def test_a_disk_that_fills_while_a_checkpoint_is_written_beside_the_steps_is_a_sentence(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            run(tokens, tmp_path / "w", steps=40)
    kept = list_checkpoints(tmp_path / "w" / "checkpoints")
    assert kept
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ForjaError, match="could not be written"):
            run(tokens, tmp_path / "w", steps=40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list_checkpoints(tmp_path / "w" / "checkpoints") == kept
    assert not list((tmp_path / "w" / "checkpoints").glob(".new-*"))
    for name in ("w", "whole"):
        run(tokens, tmp_path / name, steps=40)
    assert weights(tmp_path / "w") == weights(tmp_path / "whole")
