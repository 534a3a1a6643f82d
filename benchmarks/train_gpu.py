"""Forja's training step against nanoGPT's loop on one GPU: GPT-2 small, 1024 context, bf16, compiled.

    python benchmarks/train_gpu.py --nanogpt ~/nanoGPT

Both train in this process, a few steps in turns, on the same made-up tokens: tokens a second, the share of this
card's own measured bf16 matrix-product peak, and the ratio. Without a GPU it runs on the CPU, on a small shape,
to show that it runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.recipe import ModelSection
from forja.tokens.loader import Batch
from forja.training.compilation import compile_model
from forja.training.learner import Learner
from forja.training.loop import update
from forja.training.objectives import next_token
from forja.training.optimizers import OptimizerSettings, build_optimizer
from forja.training.rules import MeanGradient
from forja.training.strategy import OneProcess
from train_cpu import SHAPES, Shape

SMALL = Shape(4, 4, 256, 128, 4096, 4)
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--batch", type=int, default=16, help="sequences a step")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="steps of each a round")
    parser.add_argument("--eager", action="store_true", help="nothing is compiled")
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    torch.set_float32_matmul_precision("high")
    shape = replace(SHAPES["124m"], batch=options.batch) if gpu else SMALL
    source = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, shape.vocabulary, (shape.batch, shape.context + 1), generator=source).to(device)
    contenders: dict[str, Step] = {
        f"forja {preset}": forja(preset, shape, tokens, device, options.eager) for preset in ("gpt2", "modern")
    }
    if options.nanogpt:
        contenders["nanogpt"] = nanogpt(shape, tokens, device, options)
    for step in contenders.values():
        seconds(step, 3, device)  # compilation, and the first allocations
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, step in contenders.items():
            rates[name].append(options.steps * shape.tokens / seconds(step, options.steps, device))
    peak = product_peak(device)
    card = torch.cuda.get_device_name() if gpu else "CPU, a small shape"
    print(f"{card}: bf16 products at {peak / 1e12:,.1f} TFLOP/s")
    print("\n| | tokens/s | TFLOP/s | of the peak | x nanoGPT |")
    print("| --- | ---: | ---: | ---: | ---: |")
    told = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in told.items():
        flops = rate * shape.flops_per_token()
        beside = f"{rate / told['nanogpt']:.2f}" if "nanogpt" in told else "not run"
        print(f"| {name} | {rate:,.0f} | {flops / 1e12:,.1f} | {flops / peak:.0%} | {beside} |")


def forja(preset: str, shape: Shape, tokens: torch.Tensor, device: torch.device, eager: bool) -> Step:
    section = ModelSection(preset=preset, layers=shape.layers, heads=shape.heads, width=shape.width)  # type: ignore[arg-type]
    model = Transformer(resolve_config(section, vocabulary=shape.vocabulary, context=shape.context))
    model.init_weights(0)
    model.to(device)
    if not eager:
        compile_model(model)
    learner, rule = Learner(model, next_token), MeanGradient(shape.batch)
    optimizer, strategy = build_optimizer(model, OptimizerSettings()), OneProcess("bf16", device.type)
    batch = Batch(tokens[:, :-1], tokens[:, 1:], None, torch.arange(shape.batch))

    def step() -> None:
        update(learner, batch, rule, optimizer, 1.0, strategy)

    return step


def nanogpt(shape: Shape, tokens: torch.Tensor, device: torch.device, options: argparse.Namespace) -> Step:
    """nanoGPT's model and optimizer under the steps of its train.py, with its defaults."""
    sys.path.insert(0, str(options.nanogpt))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    config = GPTConfig(
        block_size=shape.context, vocab_size=shape.vocabulary, n_layer=shape.layers, n_head=shape.heads,
        n_embd=shape.width, dropout=0.0, bias=False,
    )  # fmt: skip
    model = GPT(config).to(device)
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), device.type)
    called = model if options.eager else torch.compile(model)
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            _, loss = called(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(called.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step


def seconds(step: Step, count: int, device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return time.perf_counter() - start


def product_peak(device: torch.device) -> float:
    """FLOP/s of the best square bf16 product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    torch.mm(a, b)
    return max(2 * size**3 / seconds(lambda: torch.mm(a, b), 3, device) * 3 for _ in range(10))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
