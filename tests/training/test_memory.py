"""The formulas of `memory.py` against the tensors that the code really keeps."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from forja.models.presets import resolve_config
from forja.models.transformer import Transformer, TransformerConfig
from forja.recipe import ModelSection
from forja.tokens.loader import Batch
from forja.training.learner import Learner
from forja.training.loop import update
from forja.training.memory import Memory, activation_bytes, share_bytes, sizes, state_bytes, step_memory
from forja.training.objectives import next_token
from forja.training.optimizers import OptimizerSettings, build_optimizer
from forja.training.rules import MeanGradient
from forja.training.strategy import OneProcess
from live_tensors import LiveTensors

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "modern": {"preset": "modern"},
    "original": {"preset": "original"},
    "grouped queries": {"preset": "modern", "kv_heads": 2},
    "wide heads": {"preset": "modern", "head_width": 24},
    "no qk-norm": {"preset": "modern", "qk_norm": False},
    "qk-norm alone": {"qk_norm": True},
    "relu2": {"activation": "relu2"},
    "untied": {"tie_embeddings": False},
    "encoder": {"architecture": "encoder"},
    "encoder-decoder": {"architecture": "encoder-decoder"},
    "modern encoder-decoder": {"architecture": "encoder-decoder", "preset": "modern"},
}


def shape(*, context: int = 32, vocabulary: int = 512, **keys: Any) -> TransformerConfig:
    plain = {"layers": 2, "heads": 4, "width": 64, "ffn_width": 208}
    return resolve_config(ModelSection(**{**plain, **keys}), vocabulary=vocabulary, context=context)


def kept(config: TransformerConfig, precision: str, recompute: Any, kernel: Any) -> int:
    """Bytes that two sequences' forward pass leaves, the parameters and the tokens aside."""
    model = Transformer(config)
    model.init_weights(0)
    model.use_recompute(recompute)
    model.use_attention(kernel)
    tokens = torch.zeros(2, config.context, dtype=torch.int64)
    autocast = nullcontext() if precision == "fp32" else torch.autocast("cpu", dtype=torch.bfloat16)
    with LiveTensors([*model.parameters(), *model.buffers(), tokens]) as live:
        before = live.now
        with autocast:
            hidden = model(tokens, source=tokens if config.encoder_layers else None)
        copies = 2 * sizes(config).matrices if precision != "fp32" and recompute == "none" else 0
        found = live.now - before - copies
    assert hidden.requires_grad
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_what_the_forward_pass_keeps(name: str, precision: Any) -> None:
    config = shape(**MODELS[name])
    for recompute, kernel in itertools.product(("none", "selective", "full"), ("fused", "blocked")):
        counted = activation_bytes(config, 2, precision=precision, recompute=recompute, kernel=kernel)
        found = kept(config, precision, recompute, kernel)
        assert counted == pytest.approx(found, rel=0.01), (recompute, kernel)


def test_half_precision_keeps_little_more_than_half() -> None:
    for preset, most in (("gpt2", 0.6), ("original", 0.65), ("modern", 0.75)):
        config = shape(preset=preset, width=256, ffn_width=None, vocabulary=1024)
        full, half = (activation_bytes(config, precision=precision) for precision in ("fp32", "bf16"))
        assert 0.5 <= half / full <= most, preset


STEPS: dict[str, dict[str, Any]] = {
    "plain": {"model": {}},
    "bf16": {"model": {"preset": "modern"}, "precision": "bf16", "kernel": "blocked"},
    "recomputed": {"model": {"preset": "modern", "layers": 3}, "recompute": "full"},
    "recomputed in part": {"model": {"preset": "original"}, "recompute": "selective", "precision": "bf16"},
    "few tokens, many words": {"model": {}, "vocabulary": 16_384, "context": 16, "micro_batch": 1},
    "accumulating": {"model": {}, "vocabulary": 16_384, "context": 16, "micro_batch": 1, "accumulate": True},
    "untied": {
        "model": {"tie_embeddings": False},
        "vocabulary": 16_384,
        "context": 16,
        "micro_batch": 1,
        "accumulate": True,
    },
    "muon": {"model": {"width": 256}, "vocabulary": 512, "context": 16, "micro_batch": 1, "optimizer": "muon"},
}


@pytest.mark.parametrize("name", STEPS)
def test_a_steps_peak_is_that_of_its_tensors(name: str) -> None:
    given = dict(STEPS[name])
    model_keys = {"width": 128, "ffn_width": None, **given.pop("model")}
    config = shape(context=given.pop("context", 128), vocabulary=given.pop("vocabulary", 2048), **model_keys)
    micro_batch = given.pop("micro_batch", 8)
    counted = step_memory(config, micro_batch, **given).total

    model = Transformer(config)
    model.init_weights(0)
    model.use_recompute(given.get("recompute", "none"))
    model.use_attention(given.get("kernel", "fused"))
    optimizer = build_optimizer(model, OptimizerSettings(kind=given.get("optimizer", "adamw")))
    strategy = OneProcess(given.get("precision", "fp32"), device="cpu")
    rows = torch.zeros(micro_batch * (2 if given.get("accumulate") else 1), config.context, dtype=torch.int64)
    learner, rule, batch = (
        Learner(model, next_token),
        MeanGradient(micro_batch),
        Batch(rows, rows, None, torch.arange(len(rows))),
    )
    gc.collect()
    with LiveTensors([*model.parameters(), *model.buffers()]) as live:
        for _ in range(2):
            update(learner, batch, rule, optimizer, 1.0, strategy)
    assert counted == pytest.approx(live.peak, rel=0.03)


def test_the_parts_sum_up() -> None:
    memory = step_memory(shape(), 4, precision="bf16", accumulate=True, snapshot=True)
    parts = {field.name: getattr(memory, field.name) for field in fields(Memory)}
    snapshot = parts.pop("snapshot")
    assert memory.total == sum(parts.values())
    assert memory.everything == memory.total + snapshot
    assert snapshot == 12 * sizes(shape()).parameters
    assert min(memory.weights, memory.optimizer, memory.activations, memory.copies, memory.logits) > 0


def test_adamw_keeps_two_states_and_muon_one_of_hidden_matrices() -> None:
    size = sizes(shape())
    assert state_bytes(shape()) == 8 * size.parameters
    assert state_bytes(shape(), "muon") == 8 * size.parameters - 4 * size.matrices


def test_each_stage_divides_what_it_should_by_the_world() -> None:
    config = shape()
    whole = 4 * sizes(config).parameters
    part = whole // 4
    copies = share_bytes(config, "adamw", "ddp", 4)
    assert copies[:3] == (whole, whole, 2 * whole)
    # DeepSpeed's first stages step a float32 copy of their part of the weights.
    assert share_bytes(config, "adamw", "zero1", 4)[:3] == (whole, whole, 2 * whole // 4 + part)
    assert share_bytes(config, "adamw", "zero2", 4)[:3] == (whole, part, 2 * whole // 4 + part)
    for split in ("zero3", "fsdp"):
        assert share_bytes(config, "adamw", split, 4)[:3] == (part, part, 2 * whole // 4)
    assert share_bytes(config, "adamw", "ddp", 1).standing == 0


def test_offloading_moves_the_optimizer_state_to_the_cpu() -> None:
    config = shape()
    there = step_memory(config, strategy="fsdp", world=2)
    moved = step_memory(config, strategy="fsdp", world=2, offload=True)
    assert moved.optimizer == 0
    assert moved.weights == 0
    assert moved.host == there.weights + there.optimizer + share_bytes(config, "adamw", "fsdp", 2).gradients


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak from /proc")
@pytest.mark.parametrize("number", [0, 1])
def test_estimates_are_within_15_percent_of_measured_peaks(number: int) -> None:
    """Two of the benchmark's held-out shapes, half as large."""
    script = f"import sys; sys.path.insert(0, {str(BENCHMARK.parent)!r}); import memory as m\n" + (
        "from dataclasses import replace, asdict; import json\n"
        f"shape = m.HELD_OUT[{number}]\n"
        "shape = replace(shape, micro_batch=4, model={**shape.model, 'layers': 4})\n"
        "print(json.dumps([shape.estimate().total, m.growth(shape, keep=False)]))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    estimate, measured = json.loads(done.stdout)
    assert estimate == pytest.approx(measured, rel=0.15)
