"""The memory that `forja plan` promises a training step against what the step takes.

    python benchmarks/memory.py                 a table: estimate, measured, ratio
    python benchmarks/memory.py --precision     activations and losses in half precision against float32

Each shape trains for three updates in a process of its own, which reports its peak resident memory less what was
resident before the model was made, a tiny model having loaded the libraries. It is measured twice: with buffers
given back when they are freed, so that the peak is that of the tensors, and with the heap that `pretrain` keeps.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from forja.models.presets import resolve_config
from forja.models.transformer import AttentionKernel, Recompute, Transformer, TransformerConfig
from forja.recipe import ModelSection
from forja.training.learner import Learner
from forja.training.loop import update
from forja.training.machine import keep_memory, peak_memory, physical_cores
from forja.training.memory import Memory, OptimizerKind, activation_bytes, sizes, step_memory
from forja.training.objectives import next_token
from forja.training.optimizers import OptimizerSettings, build_optimizer
from forja.training.precision import Precision
from forja.training.rules import MeanGradient
from forja.training.strategy import OneProcess

MIB = 1024**2


@dataclass(frozen=True)
class Shape:
    """One thing to train; micro_batches: a step's."""

    name: str
    model: dict[str, Any]
    vocabulary: int
    context: int
    micro_batch: int
    precision: Precision = "fp32"
    recompute: Recompute = "none"
    kernel: AttentionKernel = "fused"
    optimizer: OptimizerKind = "adamw"
    micro_batches: int = 1

    def config(self) -> TransformerConfig:
        return resolve_config(ModelSection(**self.model), vocabulary=self.vocabulary, context=self.context)

    def estimate(self) -> Memory:
        return step_memory(
            self.config(),
            self.micro_batch,
            precision=self.precision,
            recompute=self.recompute,
            kernel=self.kernel,
            optimizer=self.optimizer,
            accumulate=self.micro_batches > 1,
        )


SMALL = {"preset": "gpt2", "layers": 6, "heads": 8, "width": 512}
MODERN = {"preset": "modern", "layers": 8, "heads": 8, "width": 512}
UNTIED = {"preset": "modern", "layers": 16, "heads": 6, "kv_heads": 2, "width": 384, "tie_embeddings": False}
KNOWN = (
    Shape("gpt2 6 x 512", SMALL, 8192, 256, 12),
    Shape("gpt2 6 x 512, bf16", SMALL, 8192, 256, 24, "bf16"),
    Shape("modern 8 x 512, full", MODERN, 16384, 512, 8, "fp32", "full"),
    Shape("modern 8 x 512, bf16, muon", MODERN, 16384, 256, 8, "bf16", optimizer="muon"),
)
"""Looked at while the formulas were written."""
HELD_OUT = (
    Shape(
        "original 8 x 448, selective",
        {"preset": "original", "layers": 8, "heads": 7, "width": 448},
        *(12032, 384, 8, "fp32", "selective"),
    ),
    Shape("modern 16 x 384, untied, bf16, full, muon", UNTIED, 24064, 768, 8, "bf16", "full", "blocked", "muon", 2),
    Shape(
        "modern 10 x 640, bf16",
        {"preset": "modern", "layers": 10, "heads": 10, "width": 640},
        *(32000, 512, 6, "bf16"),
    ),
    Shape("GPT-2 small", {"preset": "gpt2", "layers": 12, "heads": 12, "width": 768}, 50304, 1024, 2),
)
"""Looked at by no one before they were measured."""
SMALLEST = {"preset": "gpt2", "layers": 1, "heads": 1, "width": 64}


class Tokens(NamedTuple):
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None


def some_tokens(shape: Shape, sequences: int, seed: int) -> Tokens:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(shape.vocabulary, (sequences, shape.context + 1), generator=draw)
    return Tokens(rows[:, :-1], rows[:, 1:])


def train(shape: Shape, updates: int, *, seed: int = 0) -> list[float]:
    """The losses of so many updates of a model made here; every update sees the same batch."""
    model = Transformer(shape.config())
    model.init_weights(seed)
    model.use_recompute(shape.recompute)
    model.use_attention(shape.kernel)
    optimizer = build_optimizer(model, OptimizerSettings(kind=shape.optimizer))
    rule, strategy = MeanGradient(shape.micro_batch), OneProcess(shape.precision, device="cpu")
    batch = some_tokens(shape, shape.micro_batch * shape.micro_batches, seed)
    learner = Learner(model, next_token)
    return [update(learner, batch, rule, optimizer, 1.0, strategy).loss for _ in range(updates)]


def growth(shape: Shape, *, keep: bool) -> int:
    """Bytes that the process grows by while the shape trains; keep: with the heap that `pretrain` keeps."""
    command = [sys.executable, __file__, "--one", json.dumps(asdict(shape)), *(["--keep"] if keep else [])]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def one(shape: Shape, *, keep: bool) -> int:
    """The same, of this process."""
    if keep:
        keep_memory()
    else:
        mmap_threshold, large = -3, MIB
        ctypes.CDLL("libc.so.6").mallopt(mmap_threshold, large)
    torch.set_num_threads(physical_cores())
    train(replace(shape, model=SMALLEST, vocabulary=512, context=32), 2)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on (Linux only)
    train(shape, 3)
    return peak_memory() - before


def show_table() -> None:
    print("| shape | parameters | estimate, MiB | measured | ratio | with the kept heap |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for title, shapes in (("looked at before", KNOWN), ("held out", HELD_OUT)):
        print(f"| *{title}* | | | | | |")
        for shape in shapes:
            estimate, took, kept = shape.estimate().total, growth(shape, keep=False), growth(shape, keep=True)
            parameters = sizes(shape.config()).parameters / 1e6
            print(
                f"| {shape.name} | {parameters:.1f}M | {estimate / MIB:,.0f} | {took / MIB:,.0f} "
                f"| {estimate / took:.3f} | {kept / MIB:,.0f} |",
                flush=True,
            )


def show_precision(updates: int = 20) -> None:
    """Activations and the losses of so many updates, float32 beside half precision.

    fp16's products take a hundred times as long on most processors, so its shape is smaller.
    """
    halves: tuple[tuple[Precision, dict[str, int], tuple[int, int, int]], ...] = (
        ("bf16", {"layers": 4, "width": 256}, (4096, 128, 8)),
        ("fp16", {"layers": 2, "heads": 2, "width": 64}, (512, 64, 4)),
    )
    print("| preset | layers x width | activations fp32, MiB | half | loss | losses apart at most, nats |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for model in (SMALL, MODERN):
        for half, size, rest in halves:
            shape = Shape("", {**model, **size}, *rest)
            plain, losses = train(shape, updates), train(replace(shape, precision=half), updates)
            whole = activation_bytes(shape.config(), shape.micro_batch)
            less = activation_bytes(shape.config(), shape.micro_batch, precision=half)
            apart = max(abs(a - b) for a, b in zip(plain, losses, strict=True))
            print(
                f"| {model['preset']} | {size['layers']} x {size['width']} | {whole / MIB:,.1f} | {half} "
                f"{less / MIB:,.1f} ({less / whole:.0%}) | {plain[0]:.3f} to {plain[-1]:.3f} | {apart:.5f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", action="store_true", help="half precision against float32")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(one(Shape(**json.loads(given.one)), keep=given.keep))
    elif given.precision:
        show_precision()
    else:
        show_table()


if __name__ == "__main__":
    main()
