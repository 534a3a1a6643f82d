"""`forja plan` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from made import forja

RECIPE = """
forja: 1
name: planned
model: { preset: gpt2, layers: 12, heads: 12, width: 768 }
training: { batch: 512, tokens: 10_000_000_000, minutes: null }
plan: { hardware: a100x8, price: 1.5 }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "planned.yaml"
    path.write_text(RECIPE)
    return path


def test_a_plan_is_short_and_says_what_to_choose(recipe: Path, tmp_path: Path) -> None:
    done = forja("plan", recipe, runs=tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    for said in ("124.5M parameters", "28.56 USD", "micro_batch 32", "Hoffmann", "fsdp", "80.3 a parameter"):
        assert said in done.stdout


def test_json_holds_the_parts_and_the_shares(recipe: Path, tmp_path: Path) -> None:
    done = forja("plan", recipe, "--hardware", "h100x4", "--tokens", "1000000", "--json", runs=tmp_path / "runs")
    told = json.loads(done.stdout)
    assert told["tokens"] == {"count": 1_000_000, "known": "--tokens"}
    assert told["hardware"]["count"] == 4
    assert len(told["choices"]) == 15
    fsdp = next(choice for choice in told["choices"] if choice["strategy"] == "fsdp")
    assert fsdp["share"]["weights"] == told["parameters"]
    assert told["best"]["micro_batch"] == 32


def test_this_machine_is_measured(recipe: Path, tmp_path: Path) -> None:
    small = ["model.layers=1", "model.width=64", "model.heads=1", "tokenizer.vocabulary=512", "tokens.context=32"]
    done = forja("plan", recipe, *small, "--hardware", "this", "--json", runs=tmp_path / "runs")
    told = json.loads(done.stdout)
    assert told["hardware"]["memory"] > 0
    assert told["hardware"]["flops"]["fp32"] > 1e9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hardware", "h10"], "Did you mean `h100`?"),
        (["--hardware", "a100x3"], "cannot be shared evenly by 3"),
        (["plan.utilisation=1.5"], "plan.utilisation"),
        (["model.heads=7"], "not a multiple of model.heads"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(recipe: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = forja("plan", recipe, *arguments, runs=tmp_path / "runs")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_fit_says_so(recipe: Path, tmp_path: Path) -> None:
    large = ["model.layers=48", "model.width=8192", "model.heads=64"]
    done = forja("plan", recipe, *large, "--hardware", "rtx3090", runs=tmp_path / "runs")
    assert done.returncode == 0
    assert "not even one sequence" in done.stdout
