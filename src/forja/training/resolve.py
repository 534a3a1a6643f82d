"""What each `auto` of a training section comes to on this machine: measured once, written down, kept.

A resumed run computes as it began, so everything here is stored before it is first used.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from forja.errors import RecipeError
from forja.models.transformer import AttentionKernel, Transformer
from forja.progress import say
from forja.recipe import OptimizerSection, TrainingSection
from forja.run import read_json, write_json_atomic
from forja.training.attention import choose_attention
from forja.training.bigrams import fit_flops
from forja.training.compilation import compile_model, compile_pays, try_compiled, worth_measuring
from forja.training.learner import Learner
from forja.training.loop import BatchSource, update
from forja.training.machine import physical_cores
from forja.training.memory import activation_bytes, step_memory
from forja.training.micro_batch import Kept, largest_micro_batch
from forja.training.objectives import Objective
from forja.training.optimizers import OptimizerSettings, build_optimizer
from forja.training.precision import Precision, choose_precision, model_products
from forja.training.processes import local_world_size
from forja.training.rules import MeanGradient, micro_batches, to_device
from forja.training.strategy import OneProcess

FAIR_SHARE = 0.55
"""Below this share of the processor's time, others' work has made a measured step longer than it is.
An idle machine gives about three quarters, as parts of a step run on one core."""


@dataclass(frozen=True)
class Resolved:
    """A training section with no `auto` left, by the section's own names; `attention` is chosen beside them."""

    threads: int
    precision: Precision
    batch: int
    micro_batch: int
    compile: bool
    steps: int
    attention: AttentionKernel


@dataclass(frozen=True)
class Work:
    """What is to be trained: `model` is only copied. sequences: in the training split; world: processes."""

    model: Transformer
    objective: Objective
    batches: BatchSource
    sequences: int
    world: int = 1


def optimizer_settings(section: OptimizerSection) -> OptimizerSettings:
    return OptimizerSettings(**section.model_dump(exclude={"clip"}))


def batch_size(section: TrainingSection, sequences: int, context: int, world: int = 1) -> int:
    """Sequences a step; `auto` by the tokens that there are to train on, in a power of two of sequences.

    The best batch grows as their 0.383rd power, whatever the model's size (Bergsma et al. 2025, "Power Lines");
    anchored at 65,536 tokens for a hundred million, near their fit. Raises RecipeError where the processes cannot
    share a batch evenly.
    """
    if section.batch != "auto":
        if section.batch % world:
            raise RecipeError(
                f"training.batch ({section.batch}) cannot be shared evenly by {world} processes.",
                fix=f"Make it a multiple of {world}.",
            )
        return section.batch
    tokens = token_budget(section, sequences, context)
    best = 65_536 * (tokens / 1e8) ** 0.383 / context
    return world * int(2 ** round(math.log2(max(1.0, best / world))))


def token_budget(section: TrainingSection, sequences: int, context: int) -> float:
    """Tokens to train on, repetitions included, where neither time nor a number of steps ends it sooner."""
    return min(section.max_epochs * sequences * context, section.tokens or math.inf)


def resolved_once(path: Path, section: TrainingSection, work: Work, batch: int) -> tuple[Resolved, dict[str, Any]]:
    """What was resolved before, or what is now, durably in `path`; and the measurements that led there."""
    kept = read_json(path)
    if kept is None:
        resolved, measured = resolve(section, work, batch)
        kept = {"resolved": asdict(resolved), "measured": measured}
        write_json_atomic(path, kept)
    return Resolved(**kept["resolved"]), kept["measured"]


def resolve(section: TrainingSection, work: Work, batch: int) -> tuple[Resolved, dict[str, Any]]:
    """Resolve every `auto`. Raises RecipeError where one cannot be measured."""
    config, measured = work.model.config, dict[str, Any]()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = max(1, physical_cores() // local_world_size()) if section.threads == "auto" else section.threads
    torch.set_num_threads(threads)
    mine = batch // work.world
    asked = section.micro_batch
    few = next(size for size in range(min(mine, 8), 0, -1) if mine % size == 0) if asked == "auto" else asked
    precision: Precision
    if section.precision == "auto":
        sizes = (config.heads + 2 * config.kv_heads) * config.head_width, config.ffn_width
        products = model_products(config.layers, config.width, *sizes, config.vocab_size, few * config.context)
        choice = choose_precision(products, device=device)
        precision, measured["precision"] = choice.precision, {"gflops": choice.gflops}
        say(f"  {choice.sentence()}")
    else:
        precision = section.precision
    attention, measured["attention"] = choose_attention(config, few, precision, device)
    known = Resolved(threads, precision, batch, few, section.compile is True, 0, attention)
    if _is_split(section):
        return _untimed_choices(known, section, work), measured
    if section.micro_batch == "auto":
        found, measured["micro_batch"] = largest_micro_batch(
            lambda size: Trial(work, section, replace(known, micro_batch=size, compile=False)).fill(),
            _bytes_needed(work, section, known, mine),
            mine,
            config.context,
        )
        known = replace(known, micro_batch=found)
    if section.compile != "auto" and section.steps != "auto":
        return replace(known, steps=section.steps), measured
    return _timed_choices(known, section, work, measured)


def _bytes_needed(work: Work, section: TrainingSection, known: Resolved, mine: int) -> Callable[[int], int]:
    """From a micro-batch to the bytes that training takes beside the weights, a checkpoint being written meanwhile.

    Counted from the model's shape, and where one forward pass really keeps more than was counted, that too.
    """
    config, recompute = work.model.config, section.gradient_checkpointing
    how: dict[str, Any] = {"precision": known.precision, "recompute": recompute, "kernel": known.attention}

    @cache
    def uncounted() -> int:
        kept = Trial(work, section, replace(known, micro_batch=1, compile=False)).kept_bytes()
        return max(0, kept - activation_bytes(config, **how))

    def needed(size: int) -> int:
        kind = section.optimizer.kind
        memory = step_memory(config, size, **how, optimizer=kind, accumulate=size < mine, snapshot=True)
        return memory.everything - memory.weights + size * uncounted()

    return needed


def _is_split(section: TrainingSection) -> bool:
    """Whether the model may be too large for one process, so that nothing is measured with it."""
    return section.strategy not in ("auto", "ddp")


def _untimed_choices(known: Resolved, section: TrainingSection, work: Work) -> Resolved:
    if section.steps != "auto":
        return replace(known, steps=section.steps)
    if section.minutes is not None:
        raise RecipeError(
            f"under `strategy: {section.strategy}` the steps that fit in training.minutes are not measured.",
            fix="Give training.steps, or `training.minutes: null` with training.tokens or training.max_epochs.",
        )
    return replace(known, steps=_steps_in(None, 0.0, section, work, known.batch))


def _timed_choices(
    known: Resolved, section: TrainingSection, work: Work, measured: dict[str, Any]
) -> tuple[Resolved, dict[str, Any]]:
    """Compile and steps, from real steps on a throw-away copy of the model."""
    started, processor = time.perf_counter(), time.process_time()
    first, later = measure_steps(work, section, known)
    measured["step_seconds"] = round(later, 4)
    share = (time.process_time() - processor) / (time.perf_counter() - started) / known.threads
    budget = None if section.minutes is None else 60 * section.minutes
    compiling = max(0.0, first - later) if known.compile else 0.0
    steps = section.steps if section.steps != "auto" else _steps_in(budget, later, section, work, known.batch)
    if section.compile == "auto" and worth_measuring(steps, later, work.model.config.layers):
        trial = try_compiled(lambda: measure_steps(work, section, replace(known, compile=True)))
        if trial is not None:
            took, quicker = max(0.0, trial[0] - trial[1]), trial[1]
            pays = compile_pays(later, quicker, took, steps)
            measured["compile"] = {"seconds": round(took, 1), "step_seconds": round(quicker, 4)}
            say(f"  a step takes {later:.3f} s, compiled {quicker:.3f} s: {'' if pays else 'not '}compiling")
            known = replace(known, compile=pays)
            later, compiling = (quicker, took) if pays else (later, 0.0)
    if section.steps == "auto":
        # What measuring took is spent; a compilation that is kept will be paid once more, by the run itself.
        starting = _first_weights_steps(section, work, known.batch) * later
        left = None if budget is None else budget - (time.perf_counter() - started) - compiling - starting
        steps = _steps_in(left, later, section, work, known.batch)
        limit = "" if section.minutes is None else f" fit in {section.minutes:g} minutes"
        say(f"  {steps:,} steps of {later:.3g} s{limit}")
        if known.threads > 1 and share < FAIR_SHARE and not torch.cuda.is_available():
            say(
                f"  this process got only {share:.0%} of its cores meanwhile: something else is using them, and the "
                "model will be trained on less text than it could be. Give training.steps, or start again when the "
                "machine is quiet."
            )
    return replace(known, steps=steps), measured


def _first_weights_steps(section: TrainingSection, work: Work, batch: int) -> float:
    """How many steps' time the first weights take."""
    if section.first_weights == "random":
        return 0.0
    return fit_flops(work.model.config) / (work.model.flops_per_token() * work.model.config.context * batch)


class Trial:
    """Updates of a throw-away copy of the model, as the run would make them."""

    def __init__(self, work: Work, section: TrainingSection, known: Resolved) -> None:
        model = copy.deepcopy(work.model)
        self.batches, self.world = work.batches, work.world
        self.strategy = OneProcess(known.precision)
        model.to(self.strategy.device)
        model.use_attention(known.attention)
        model.use_recompute(section.gradient_checkpointing)
        if known.compile:
            compile_model(model)
        self.learner = Learner(model, work.objective)
        self.optimizer = build_optimizer(model, optimizer_settings(section.optimizer))
        self.rule = MeanGradient(known.micro_batch, section.optimizer.clip)

    def step(self, number: int) -> float:
        """Seconds of one update."""
        batch = to_device(self.batches.global_batch(number, 0, self.world), self.strategy.device)
        start = time.perf_counter()
        update(self.learner, batch, self.rule, self.optimizer, 0.0, self.strategy)
        return time.perf_counter() - start

    def fill(self) -> int:
        """The micro-batch that updates come to where memory is too small for the one asked for, as the rule halves it.
        One example goes before, for the optimizer's states. Raises ForjaError where not even that fits."""
        whole = self._first()
        for part in (next(micro_batches(whole, 1)), whole):
            update(self.learner, part, self.rule, self.optimizer, 0.0, self.strategy)
        return self.rule.micro_batch

    def kept_bytes(self) -> int:
        """What one micro-batch's forward pass keeps for its backward pass."""
        with self.strategy.autocast(), Kept(self.learner) as kept:
            self.learner(self._first())
        return kept.bytes

    def _first(self) -> Any:
        """A micro-batch."""
        batch = to_device(self.batches.global_batch(0, 0, self.world), self.strategy.device)
        return next(micro_batches(batch, self.rule.micro_batch))


def measure_steps(work: Work, section: TrainingSection, known: Resolved) -> tuple[float, float]:
    """Seconds of a first update and, as a median, of those after it."""
    trial = Trial(work, section, known)
    seconds: list[float] = []
    while len(seconds) < 4 or (len(seconds) < 12 and sum(seconds[1:]) < 2.0):
        seconds.append(trial.step(len(seconds)))
        if sum(seconds) > 60 and len(seconds) >= 2:
            break
    return seconds[0], statistics.median(seconds[1:])


def _steps_in(budget: float | None, step_seconds: float, section: TrainingSection, work: Work, batch: int) -> int:
    """Updates that fit in `budget` seconds (None: any) with their validations, and in the tokens to train on."""
    context = work.model.config.context
    most = math.floor(token_budget(section, work.sequences, context) / (batch * context))
    if budget is not None:
        validation = 0.4 * step_seconds * section.valid_sequences / batch / section.valid_every
        most = min(most, math.floor(max(0.0, budget) / (step_seconds + validation)))
    return max(1, most)
