"""Plans against figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forja.errors import ForjaError
from forja.recipe import Recipe
from forja.training.hardware import NAMED, find_hardware
from forja.training.plan import Plan, make_plan, planned_micro_batch

GPT2 = {"preset": "gpt2", "layers": 12, "heads": 12, "width": 768}
NOWHERE = Path("no-such-run")


def recipe(**sections: Any) -> Recipe:
    training = {"batch": 512, "tokens": 10_000_000_000, **sections.pop("training", {})}
    return Recipe(name="planned", model={**GPT2, **sections.pop("model", {})}, training=training, **sections)


def plan(hardware: str = "a100", aim: int | None = None, run: Path = NOWHERE, **sections: Any) -> Plan:
    return make_plan(recipe(**sections), run, find_hardware(hardware), aim)


def test_gpt2_small_on_an_a100() -> None:
    made = plan()
    block = 12 * 768**2 + 13 * 768
    assert made.parameters == 50_304 * 768 + 1024 * 768 + 12 * block + 2 * 768
    assert made.flops_per_token == 6 * (made.parameters - 1024 * 768) + 12 * 12 * 768 * 1024
    assert made.optimal_tokens == 20 * made.parameters
    best = made.best
    assert best is not None
    assert (best.strategy, best.recompute, planned_micro_batch(made, best)) == ("ddp", "none", 32)
    memory = best.memory
    assert memory.weights == 4 * made.parameters
    assert memory.optimizer == 8 * made.parameters
    # bf16, a token and block: two norms' inputs and statistics, two products' inputs, the attention's products and
    # result with its log-sum-exp, and GELU's input and output.
    token = 2 * 4 * (768 + 2) + 2 * 2 * 768 + 2 * 2304 + 2 * 768 + 4 * 12 + 2 * 2 * 3072
    ends = 4 * (768 + 2) + 4 * 768
    assert memory.activations == 32 * 1024 * (12 * token + ends)
    assert memory.copies == 2 * 12 * 12 * 768**2


def test_hours_and_cost_follow_from_utilisation_and_price() -> None:
    made = plan("a100x8", plan={"utilisation": 0.5, "price": 2.0, "currency": "EUR"})
    assert made.spent is not None
    seconds = 855_383_040 * 1e10 / (312e12 * 0.5)
    assert made.spent.device_hours == pytest.approx(seconds / 3600)
    assert made.spent.hours == pytest.approx(seconds / 3600 / 8)
    assert made.spent.cost == pytest.approx(2 * seconds / 3600)
    assert plan().spent.cost is None  # type: ignore[union-attr]


def test_stages_and_recomputation_each_take_less_than_the_one_before() -> None:
    # 16 sequences at once of a batch of 256: large enough that DeepSpeed's own buffers do not count.
    made = plan("h100x64", model={"layers": 32, "width": 4096, "heads": 32}, training={"batch": 4096})
    total = {(choice.strategy, choice.recompute): choice.memory.total for choice in made.choices}
    for recompute in ("none", "selective", "full"):
        sizes = [total[strategy, recompute] for strategy in ("ddp", "zero1", "zero2", "zero3", "fsdp")]
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == 5
    assert total["ddp", "none"] > total["ddp", "selective"] > total["ddp", "full"]


def test_the_largest_micro_batch_fits_and_one_more_does_not() -> None:
    made = plan("rtx3090")
    own = made.own
    assert own.largest > 0
    for extra, fits in ((0, True), (1, False)):
        again = plan("rtx3090", training={"batch": 10_000, "micro_batch": own.largest + extra})
        assert (again.own.memory.total <= made.hardware.usable) is fits


def test_what_cannot_fit_at_one_sequence_has_no_best() -> None:
    made = plan("rtx4090", model={"layers": 48, "width": 8192, "heads": 64})
    assert made.best is None
    assert made.spent is None
    assert all(choice.largest == 0 for choice in made.choices)


def test_a_model_too_large_for_copies_is_split() -> None:
    made = plan("h100x8", model={"layers": 32, "width": 4096, "heads": 32})
    assert made.own.largest == 0
    assert made.best is not None
    assert made.best.strategy != "ddp"


def test_one_device_tpus_and_muon_split_nothing() -> None:
    muon = {"optimizer": {"kind": "muon"}}
    for made in (plan("a100"), plan("tpu-v5ex4"), plan("a100x8", training=muon)):
        assert {choice.strategy for choice in made.choices} == {"ddp"}


def test_tokens_come_from_the_option_the_steps_the_run_or_the_recipe(tmp_path: Path) -> None:
    assert plan(aim=123_456_789).tokens.count == 123_456_789
    assert plan().tokens == (plan().tokens.__class__)(10_000_000_000, "training.tokens")
    assert plan(training={"steps": 100}).tokens.count == 100 * 512 * 1024
    assert plan(training={"tokens": None}).tokens.count == plan().optimal_tokens
    (tmp_path / "tokens").mkdir()
    meta = {"vocabulary": 1000, "context": 1024, "splits": {"train": {"tokens": 2_000_000}}}
    (tmp_path / "tokens" / "meta.json").write_text(json.dumps(meta))
    made = plan(run=tmp_path, training={"max_epochs": 2.5})
    assert made.tokens.count == 5_000_000
    assert made.setting.config.vocab_size == 1024
    assert plan(run=tmp_path, training={"max_epochs": 2.5, "tokens": 3_000_000}).tokens.count == 3_000_000


def test_a_batch_of_auto_is_resolved_as_training_does() -> None:
    made = plan("a100x8", training={"batch": "auto"})
    assert made.setting.batch % 8 == 0
    assert made.setting.batch > 8


def test_computing_again_costs_a_forward_pass_of_the_blocks() -> None:
    made = plan("rtx4090", model={"layers": 24, "width": 1536, "heads": 24}, tokens={"context": 16384})
    assert made.best is not None
    assert made.spent is not None
    assert made.best.recompute == "full"
    assert 0.25 < made.spent.again < 1 / 3


def test_hardware_is_named_counted_and_put_right() -> None:
    assert find_hardware("A100x8").count == 8
    assert find_hardware("p4d").count == 8
    assert find_hardware("p4dx2").count == 16
    assert find_hardware("rtx4090").peak("bf16") == 165.2e12
    for wrong, right in (("a10", "a100"), ("h10", "h100"), ("rtx-4090", "rtx4090"), ("tpuv5e", "tpu-v5e")):
        with pytest.raises(ForjaError, match=f"Did you mean `{right}`"):
            find_hardware(wrong)
    with pytest.raises(ForjaError, match="several as in a100x8"):
        find_hardware("a100x0")
    with pytest.raises(ForjaError, match="no figure for fp32"):
        plan("tpu-v5e", training={"precision": "fp32"})
    assert all(hardware.source for hardware in NAMED.values())
