"""What each `auto` of a training section comes to on this machine: measured once, written down, kept.

A resumed run computes as it began, so everything here is stored before it is first used.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from forja.models.transformer import AttentionKernel, Transformer, TransformerConfig
from forja.progress import say
from forja.recipe import OptimizerSection, TrainingSection
from forja.run import read_json, write_json_atomic
from forja.training.attention import choose_attention
from forja.training.compilation import compile_model, compile_pays, try_compiled, worth_measuring
from forja.training.loop import BatchSource, update
from forja.training.machine import available_memory, physical_cores
from forja.training.objectives import next_token
from forja.training.optimizers import OptimizerSettings, build_optimizer
from forja.training.precision import Precision, choose_precision, model_products
from forja.training.rules import MeanGradient, to_device
from forja.training.strategy import OneProcess

MAX_ROWS = 16384
"""Tokens in a micro-batch beyond which nothing gets faster."""
FAIR_SHARE = 0.55
"""Below this share of the processor's time, others' work has made a measured step longer than it is.
An idle machine gives about three quarters, as parts of a step run on one core."""


@dataclass(frozen=True)
class Resolved:
    """A training section with no `auto` left, by the section's own names; `attention` is chosen beside them."""

    threads: int
    precision: Precision
    micro_batch: int
    compile: bool
    steps: int
    attention: AttentionKernel


def optimizer_settings(section: OptimizerSection) -> OptimizerSettings:
    return OptimizerSettings(**section.model_dump(exclude={"clip"}))


def resolved_once(
    path: Path, section: TrainingSection, model: Transformer, batches: BatchSource, sequences: int, world: int = 1
) -> tuple[Resolved, dict[str, Any]]:
    """What was resolved before, or what is now, durably in `path`; and the measurements that led there."""
    kept = read_json(path)
    if kept is None:
        resolved, measured = resolve(section, model, batches, sequences, world)
        kept = {"resolved": asdict(resolved), "measured": measured}
        write_json_atomic(path, kept)
    return Resolved(**kept["resolved"]), kept["measured"]


def resolve(
    section: TrainingSection, model: Transformer, batches: BatchSource, sequences: int, world: int = 1
) -> tuple[Resolved, dict[str, Any]]:
    """Resolve every `auto`; `model` is only copied. sequences: in the training split."""
    config, measured = model.config, dict[str, Any]()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = physical_cores() if section.threads == "auto" else section.threads
    torch.set_num_threads(threads)
    micro_batch = section.micro_batch
    if micro_batch == "auto":
        micro_batch = largest_micro_batch(config, model.num_parameters(), section.batch // world, available_memory())
    rows = micro_batch * config.context
    precision: Precision
    if section.precision == "auto":
        sizes = (config.heads + 2 * config.kv_heads) * config.head_width, config.ffn_width
        products = model_products(config.layers, config.width, *sizes, config.vocab_size, rows)
        choice = choose_precision(products, device=device)
        precision, measured["precision"] = choice.precision, {"gflops": choice.gflops}
        say(f"  {choice.sentence()}")
    else:
        precision = section.precision
    attention, measured["attention"] = choose_attention(config, micro_batch, precision, device)
    known = Resolved(threads, precision, micro_batch, section.compile is True, 0, attention)
    if section.compile != "auto" and section.steps != "auto":
        return _with(known, steps=section.steps), measured
    return _timed_choices(known, section, model, batches, sequences, world, measured)


def _timed_choices(
    known: Resolved,
    section: TrainingSection,
    model: Transformer,
    batches: BatchSource,
    sequences: int,
    world: int,
    measured: dict[str, Any],
) -> tuple[Resolved, dict[str, Any]]:
    """Compile and steps, from real steps on a throw-away copy of the model."""
    started, processor = time.perf_counter(), time.process_time()
    trial_model = copy.deepcopy(model)
    if known.compile:
        compile_model(trial_model)
    first, later = measure_steps(trial_model, batches, section, known, world)
    measured["step_seconds"] = round(later, 4)
    share = (time.process_time() - processor) / (time.perf_counter() - started) / known.threads
    budget, compiling = 60 * section.minutes, 0.0
    steps = section.steps if section.steps != "auto" else _steps_in(budget, later, section, sequences)
    compiled = known.compile
    if section.compile == "auto" and worth_measuring(steps, later):
        trial_model = copy.deepcopy(model)
        trial = try_compiled(trial_model, lambda: measure_steps(trial_model, batches, section, known, world))
        if trial is not None:
            compiling, quicker = max(0.0, trial[0] - trial[1]), trial[1]
            compiled = compile_pays(later, quicker, compiling, steps)
            measured["compile"] = {"seconds": round(compiling, 1), "step_seconds": round(quicker, 4)}
            say(f"  a step takes {later:.3f} s, compiled {quicker:.3f} s: {'' if compiled else 'not '}compiling")
            later = quicker if compiled else later
    elif compiled:
        compiling = max(0.0, first - later)
    if section.steps == "auto":
        # What measuring took is spent; a compilation that is kept will be paid once more, by the run itself.
        spent = time.perf_counter() - started + (compiling if compiled else 0.0)
        steps = _steps_in(budget - spent, later, section, sequences)
        say(f"  {steps:,} steps of {later:.3g} s fit in {section.minutes:g} minutes")
        if known.threads > 1 and share < FAIR_SHARE and not torch.cuda.is_available():
            say(
                f"  this process got only {share:.0%} of its cores meanwhile: something else is using them, and the "
                "model will be trained on less text than it could be. Give training.steps, or start again when the "
                "machine is quiet."
            )
    return _with(known, steps=steps, compile=compiled), measured


def measure_steps(
    model: Transformer, batches: BatchSource, section: TrainingSection, known: Resolved, world: int = 1
) -> tuple[float, float]:
    """Seconds of a first update and, as a median, of those after it; `model` is used up."""
    strategy = OneProcess(known.precision)
    model.to(strategy.device)
    model.use_attention(known.attention)
    optimizer = build_optimizer(model, optimizer_settings(section.optimizer))
    rule = MeanGradient(known.micro_batch, section.optimizer.clip)
    seconds: list[float] = []
    while len(seconds) < 4 or (len(seconds) < 12 and sum(seconds[1:]) < 2.0):
        batch = batches.global_batch(len(seconds), 0, world)
        start = time.perf_counter()
        update(model, to_device(batch, strategy.device), next_token, rule, optimizer, 0.0, strategy)
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > 60 and len(seconds) >= 2:
            break
    return seconds[0], statistics.median(seconds[1:])


def _steps_in(budget: float, step_seconds: float, section: TrainingSection, sequences: int) -> int:
    """Updates that fit in `budget` seconds with their validations, and in `max_epochs` passes."""
    validation = 0.4 * step_seconds * section.valid_sequences / section.batch / section.valid_every
    fit = math.floor(max(0.0, budget) / (step_seconds + validation))
    return max(1, min(fit, math.floor(section.max_epochs * sequences / section.batch)))


def largest_micro_batch(config: TransformerConfig, parameters: int, batch: int, memory: int) -> int:
    """The largest divisor of `batch` whose activations fit in 60% of what weights and optimizer leave.

    memory: bytes available. Counts float32 activations, the most that any precision keeps.
    """
    left = 0.6 * (memory - 20 * parameters)
    wide = 12 * config.width + 4 * config.heads * config.head_width + 3 * config.ffn_width
    scores = 3 * config.heads * config.context
    a_sequence = 4 * config.context * config.layers * (wide + scores)
    most = max(1, min(int(left / a_sequence), MAX_ROWS // config.context or 1))
    return max(size for size in range(1, batch + 1) if batch % size == 0 and size <= most)


def _with(known: Resolved, **changes: Any) -> Resolved:
    return Resolved(**{**asdict(known), **changes})
