"""Schedules, optimizers, kernels, checkpoints and choices, each alone."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from forja.errors import ForjaError
from forja.models.blocked_attention import blocked_attention
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from forja.training.compilation import compile_pays
from forja.training.machine import available_memory, keep_memory, physical_cores
from forja.training.optimizers import OptimizerSettings, build_optimizer, hidden_matrices, orthogonalised
from forja.training.precision import Product, choose_precision
from forja.training.rules import MeanGradient, micro_batches
from forja.training.schedules import schedule
from forja.training.strategy import OneProcess
from tiny_training import GPT2


def tiny_model() -> Transformer:
    model = Transformer(resolve_config(GPT2, vocabulary=100, context=16))
    model.init_weights(0)
    return model


@given(st.sampled_from(["cosine", "wsd", "constant"]), st.integers(1, 500), st.floats(0, 50), st.floats(0, 1))
def test_a_schedule_stays_between_zero_and_one_and_ends_at_its_floor(
    kind: str, steps: int, warmup: float, floor: float
) -> None:
    factor = schedule(kind, steps, warmup=warmup, floor=floor)  # type: ignore[arg-type]
    factors = [factor(step) for step in range(steps)]
    assert all(0 <= value <= 1 + 1e-9 for value in factors)
    if kind != "constant" and round(warmup) < steps and warmup >= 1:
        assert factors[-1] == pytest.approx(floor, abs=1e-9)


def test_decay_is_on_matrices_only() -> None:
    optimizer = build_optimizer(tiny_model(), OptimizerSettings())
    for group in optimizer.parts[0].param_groups:
        assert {p.ndim for p in group["params"]} == ({2} if group["weight_decay"] else {1})


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    model = tiny_model()
    names = hidden_matrices(model)
    assert len(names) == 4 * 2
    assert not any("embedding" in name for name in names)
    optimizer = build_optimizer(model, OptimizerSettings(kind="muon"))
    held = [p for part in optimizer.parts for group in part.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}


def test_the_embedding_can_have_a_rate_of_its_own() -> None:
    model = tiny_model()
    kinds = {"embedding.weight": "embedding", "position_embedding.weight": "adamw", "final_norm.weight": "adamw"}
    optimizer = build_optimizer(model, OptimizerSettings(rate=1e-3, embedding_rate=0.03))
    groups = [group for part in optimizer.parts for group in part.param_groups]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for name, kind in kinds.items():
        (group,) = [group for group in groups if any(p is optimizer.named[name] for p in group["params"])]
        assert (group["kind"], group["peak"]) == (kind, 0.03 if kind == "embedding" else 1e-3)
    optimizer.set_factor(0.5)
    assert optimizer.rates() == {"adamw": 5e-4, "embedding": 0.015}


@pytest.mark.parametrize("shape", [(2, 8, 24), (1, 24, 8)])
def test_newton_schulz_brings_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.5


@pytest.mark.parametrize("time", [1, 7, 130, 300])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_blocked_attention_is_the_fused_one(time: int, kv_heads: int) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, 4, time, 8, requires_grad=True)
    k, v = (torch.randn(2, kv_heads, time, 8, requires_grad=True) for _ in range(2))
    ours = blocked_attention(q, k, v)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    slope = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, (q, k, v), slope), torch.autograd.grad(theirs, (q, k, v), slope), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_is_the_same_bytes_twice_and_comes_back_whole(tmp_path: Path) -> None:
    saved = Checkpoint(3, {"w": torch.randn(4)}, {"w/step": torch.tensor(3.0)}, {"best_step": 1}, {"layers": 2})
    one, two = save_checkpoint(tmp_path / "a", saved), save_checkpoint(tmp_path / "b", saved)
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
    loaded = load_checkpoint(one)
    assert torch.equal(loaded.model["w"], saved.model["w"])
    assert (loaded.step, loaded.description) == (3, {"layers": 2})


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "model.json"])
def test_a_cut_checkpoint_is_called_damaged(tmp_path: Path, name: str) -> None:
    folder = save_checkpoint(tmp_path, Checkpoint(3, {"w": torch.randn(4)}, {}, {}, {}))
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(ForjaError, match="damaged"):
        load_checkpoint(folder)


def test_precision_is_measured_and_a_tie_goes_to_fp32() -> None:
    choice = choose_precision([Product(64, 32, 32)], seconds=0.05)
    assert choice.precision in ("fp32", "bf16", "fp16")
    assert choice.gflops["fp32"]
    assert "GFLOP/s" in choice.sentence()


def test_compiling_must_save_more_than_it_costs() -> None:
    assert compile_pays(1.0, 0.8, 40.0, 1000)
    assert not compile_pays(1.0, 0.8, 40.0, 100)
    assert not compile_pays(1.0, 1.1, 0.0, 1000)


def test_an_empty_batch_gives_no_gradient() -> None:
    batch = namedtuple("batch", ["inputs"])(torch.zeros(0, 4))
    assert list(micro_batches(batch, 2)) == []
    figures = MeanGradient(2).gradients(nn.Linear(2, 2), batch, OneProcess())
    assert (figures.loss, figures.norm, figures.weight) == (0.0, 0.0, 0.0)


def test_the_machine_is_known() -> None:
    assert physical_cores() >= 1
    assert available_memory() > 0
    assert keep_memory(2**21) in (True, False)
