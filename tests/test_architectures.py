"""The whole road for models that are no decoders, and for runs of several processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from made import environment, forja, tiny_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and its run's stages up to the tokens."""
    folder = tmp_path_factory.mktemp("project")
    recipe = tiny_project(folder)
    done = forja("tokens", recipe, runs=folder / "runs")
    assert done.returncode == 0, done.stderr
    return folder


def started(project: Path, tmp_path: Path) -> Path:
    """A copy of what is there, to train in."""
    shutil.copytree(project, tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "objective"),
    [("encoder", "masked"), ("encoder-decoder", "span-corruption"), ("encoder-decoder", "prefix")],
)
def test_every_architecture_goes_the_whole_road(
    architecture: str, objective: str, project: Path, tmp_path: Path
) -> None:
    folder = started(project, tmp_path)
    keys = (f"model.architecture={architecture}", f"training.objective={objective}")
    done = forja("run", folder / "tiny.yaml", *keys, runs=folder / "runs")
    assert done.returncode == 0, done.stderr
    run = folder / "runs" / "tiny"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["perplexity.test"] > 1
    assert ("perplexity.bigram.test" in metrics) == (objective == "prefix")
    assert json.loads((run / "model" / "config.json").read_text())["model_type"] == "forja"
    assert (run / "report.html").stat().st_size > 10_000
    told = forja("generate", run, "the", "--max-tokens", "3", runs=folder / "runs")
    assert told.returncode == (1 if architecture == "encoder" else 0)
    assert ("continues no text" in told.stderr) == (architecture == "encoder")


def test_an_objective_that_does_not_fit_is_refused_before_anything_runs(project: Path) -> None:
    done = forja("run", project / "tiny.yaml", "training.objective=masked", runs=project / "other")
    assert done.returncode == 1
    assert "masked does not train a decoder" in done.stderr
    assert not (project / "other").exists()


def test_a_split_strategy_alone_is_a_sentence(project: Path, tmp_path: Path) -> None:
    folder = started(project, tmp_path)
    keys = ("training.strategy=fsdp", "training.optimizer.kind=adamw")
    done = forja("pretrain", folder / "tiny.yaml", *keys, runs=folder / "runs")
    assert done.returncode == 1
    assert "this is one process alone" in done.stderr
    assert "torchrun" in done.stderr


@pytest.mark.slow
def test_two_processes_make_the_whole_run_that_one_makes(project: Path, tmp_path: Path) -> None:
    folder = started(project, tmp_path)
    # Muon iterates in half precision, in which a sum's order shows.
    keys = ["training.precision=fp32", "training.micro_batch=2", "training.optimizer.kind=adamw"]
    done = forja("run", folder / "tiny.yaml", *keys, runs=folder / "runs")
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "runs" / "tiny", folder / "two" / "tiny")
    shutil.rmtree(folder / "two" / "tiny" / "training")
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "forja", "run", str(folder / "tiny.yaml"), *keys]
    settings = {**environment(folder / "two"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Perplexity") == 1  # the other process says nothing
    one, two = (json.loads((folder / name / "tiny" / "metrics.json").read_text()) for name in ("runs", "two"))
    assert two["perplexity.test"] == pytest.approx(one["perplexity.test"], rel=1e-3)
    again = forja("run", folder / "tiny.yaml", *keys, runs=folder / "two")
    assert "Nothing to do" in again.stdout, again.stderr
