"""Which strategy a recipe gets, and the TPU's, against a stand-in for torch_xla."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from forja.errors import ForjaError, RecipeError
from forja.recipe import ModelSection, TrainingSection
from forja.training import distributed
from forja.training.distributed import Tpu, strategy_for
from forja.training.optimizers import OptimizerSettings, build_optimizer
from forja.training.resolve import batch_size, token_budget
from forja.training.strategy import OneProcess


@pytest.mark.parametrize("kind", ["auto", "ddp"])
def test_one_process_needs_no_machinery(kind: Any) -> None:
    assert isinstance(strategy_for(kind, "fp32"), OneProcess)


@pytest.mark.parametrize("kind", ["fsdp", "zero1", "zero2", "zero3"])
def test_one_process_has_nothing_to_split(kind: Any) -> None:
    with pytest.raises(ForjaError, match="one process alone"):
        strategy_for(kind, "fp32")


def test_zero_without_deepspeed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "find_spec", lambda name: None)
    with pytest.raises(ForjaError, match=r"DeepSpeed is not installed.*forja\[deepspeed\]"):
        strategy_for("zero2", "fp32")


@pytest.mark.parametrize("strategy", ["fsdp", "zero1", "zero2", "zero3"])
def test_muon_is_refused_where_matrices_are_split(strategy: Any) -> None:
    with pytest.raises(ValueError, match="muon needs whole matrices"):
        TrainingSection(strategy=strategy, optimizer={"kind": "muon"})


def test_nothing_is_offloaded_of_a_model_that_is_whole_everywhere() -> None:
    with pytest.raises(ValueError, match="offload"):
        TrainingSection(strategy="ddp", offload=True)


def test_a_tpus_gradients_are_summed_before_they_are_clipped_and_a_step_ends_its_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []

    def all_reduce(kind: str, gradients: list[torch.Tensor]) -> None:
        called.append(f"{kind} {len(gradients)}")
        for gradient in gradients:
            gradient.mul_(4)  # what four cores with equal gradients come to

    model = nn.Linear(3, 1, bias=False)
    xm = SimpleNamespace(all_reduce=all_reduce, mark_step=lambda: called.append("mark"))
    core = ModuleType("torch_xla.core")
    core.xla_model = xm  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_xla", ModuleType("torch_xla"))
    monkeypatch.setitem(sys.modules, "torch_xla.core", core)
    monkeypatch.setitem(sys.modules, "torch_xla.core.xla_model", xm)
    strategy = object.__new__(Tpu)
    optimizer = build_optimizer(model, OptimizerSettings(rate=0.1, weight_decay=0.0))
    optimizer.set_factor(1.0)
    model.weight.grad = torch.ones(1, 3)
    norm = strategy.finish_gradients(model, 0.5, clip=1.0)
    assert norm == pytest.approx(0.5 * 4 * 3**0.5)
    assert model.weight.grad.norm().item() == pytest.approx(1.0)
    before = model.weight.detach().clone()
    strategy.step(optimizer)
    assert called == ["sum 1", "mark"]
    assert not torch.equal(model.weight, before)


def test_the_batch_grows_with_the_tokens_there_are() -> None:
    section = TrainingSection(batch="auto", max_epochs=1)
    sizes = [batch_size(section, sequences, 1024) for sequences in (100, 10_000, 1_000_000, 100_000_000)]
    assert sizes == sorted(sizes)
    assert batch_size(section, 97_656, 1024) == 64  # 65,536 tokens for a hundred million
    assert all(size & (size - 1) == 0 for size in sizes)
    assert batch_size(section, 10_000, 1024, world=6) % 6 == 0


def test_a_batch_that_processes_cannot_share_evenly_is_refused() -> None:
    with pytest.raises(RecipeError, match="shared evenly by 3"):
        batch_size(TrainingSection(batch=16), 100, 64, world=3)


def test_the_tighter_of_epochs_and_tokens_ends_training() -> None:
    assert token_budget(TrainingSection(max_epochs=2), 10, 64) == 1280
    assert token_budget(TrainingSection(max_epochs=2, tokens=1000), 10, 64) == 1000


def test_an_encoder_decoders_layers_may_differ() -> None:
    from forja.models.presets import resolve_config

    section = ModelSection(architecture="encoder-decoder", layers=2, encoder_layers=4)
    config = resolve_config(section, vocabulary=64, context=8)
    assert (config.layers, config.encoder_layers) == (2, 4)
    with pytest.raises(RecipeError, match="encoder_layers is for an encoder-decoder"):
        resolve_config(ModelSection(encoder_layers=2), vocabulary=64, context=8)
