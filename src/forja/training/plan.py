"""What training a recipe would take on given hardware: memory, the batch that fits, hours, and money.

The counts are `memory.py`'s and the model's own; nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from forja.models.presets import resolve_config
from forja.models.transformer import AttentionKernel, Recompute, Transformer, TransformerConfig
from forja.recipe import Recipe, TrainingSection
from forja.run import read_json
from forja.training.attention import choose_attention
from forja.training.hardware import Hardware
from forja.training.memory import Memory, Sharding, Share, share_bytes, sizes, step_memory
from forja.training.precision import Precision
from forja.training.resolve import batch_size

OPTIMAL = 20
"""Tokens a parameter at which compute is best spent, about (Hoffmann et al. 2022, table 3)."""
STRATEGIES: tuple[Sharding, ...] = ("ddp", "zero1", "zero2", "zero3", "fsdp")
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
MOST = 32
"""Sequences at once that a micro-batch of `auto` comes to at most."""
ENOUGH = 4096
"""Tokens at once that keep a device busy: fewer are planned only where nothing else fits."""
SEARCHED = 1 << 16


@dataclass(frozen=True)
class Choice:
    """A strategy with a recomputation. share: what stands on a device; memory: at the fullest moment, with the plan's
    micro-batch; largest: sequences that fit, 0 for none."""

    strategy: Sharding
    recompute: Recompute
    share: Share
    memory: Memory
    largest: int


@dataclass(frozen=True)
class Tokens:
    """To train on, repetitions included; `known` says from where."""

    count: int
    known: str


@dataclass(frozen=True)
class Setting:
    """What a step is planned with. batch: sequences of a step on all devices; micro_batch: at once on one."""

    config: TransformerConfig
    precision: Precision
    kernel: AttentionKernel
    batch: int
    micro_batch: int


@dataclass(frozen=True)
class Spent:
    """again: FLOPs of recomputation, a fraction of the model's own; cost: None without a price."""

    flops: float
    again: float
    hours: float
    device_hours: float
    cost: float | None


@dataclass(frozen=True)
class Plan:
    """The whole answer. `best` is None where not even one sequence fits, whatever is split or computed again."""

    name: str
    hardware: Hardware
    setting: Setting
    parameters: int
    flops_per_token: int
    tokens: Tokens
    choices: list[Choice]
    own: Choice
    best: Choice | None
    spent: Spent | None
    utilisation: float
    price: float | None
    currency: str
    minutes: float | None
    """After which training ends, tokens or not; None where it does not."""

    @property
    def optimal_tokens(self) -> int:
        return OPTIMAL * self.parameters


def make_plan(recipe: Recipe, run_folder: Path, hardware: Hardware, tokens: int | None = None) -> Plan:
    """Plan the recipe's training on `hardware`; `tokens` wins over what the run or the recipe says.

    Raises ForjaError where the devices cannot share the batch, or have no figure for the precision.
    """
    section, meta = recipe.training, read_json(run_folder / "tokens" / "meta.json")
    vocabulary = meta["vocabulary"] if meta else recipe.tokenizer.vocabulary
    config = resolve_config(recipe.model, vocabulary=vocabulary, context=recipe.tokens.context)
    parameters = sizes(config).parameters
    there = meta["splits"]["train"]["tokens"] if meta else None
    precision = _precision(section, hardware)
    batch, aim = _batch_and_tokens(section, config, tokens, there, hardware.count)
    setting = Setting(config, precision, "fused", batch, _micro_batch(section, batch // hardware.count))
    if hardware.device == "cpu":
        kernel, _ = choose_attention(config, setting.micro_batch, precision, "cpu")
        setting = replace(setting, kernel=kernel)
    choices = [
        _choice(section, setting, hardware, strategy, recompute)
        for strategy in _strategies(section, hardware)
        for recompute in RECOMPUTES
    ]
    best = _best(choices, setting)
    flops_per_token = _flops_per_token(config)
    return Plan(
        name=recipe.name,
        hardware=hardware,
        setting=setting,
        parameters=parameters,
        flops_per_token=flops_per_token,
        tokens=aim,
        choices=choices,
        own=_own(choices, section),
        best=best,
        spent=_spent(recipe, config, flops_per_token, aim.count, hardware, precision, best) if best else None,
        utilisation=recipe.plan.utilisation,
        price=recipe.plan.price,
        currency=recipe.plan.currency,
        minutes=section.minutes if section.steps == "auto" else None,
    )


# --- what is to be trained -----------------------------------------------------------------------------------------


def _precision(section: TrainingSection, hardware: Hardware) -> Precision:
    if section.precision != "auto":
        return section.precision
    if hardware.device == "cuda":
        return "bf16"
    return "bf16" if hardware.flops.get("bf16", 0.0) > hardware.flops["fp32"] else "fp32"


def _batch_and_tokens(
    section: TrainingSection, c: TransformerConfig, given: int | None, there: int | None, world: int
) -> tuple[int, Tokens]:
    """The batch, and the tokens: each may be chosen by the other. there: tokens of the run's training split."""
    if given is None and section.steps != "auto":
        assumed = _tokens(section, c, given, there)
        batch = batch_size(section, assumed.count // c.context, c.context, world)
        return batch, Tokens(
            section.steps * batch * c.context, f"training.steps, {section.steps:,} batches of {batch:,}"
        )
    tokens = _tokens(section, c, given, there)
    sequences = there // c.context if there else tokens.count // c.context
    return batch_size(section, max(1, sequences), c.context, world), tokens


def _tokens(section: TrainingSection, c: TransformerConfig, given: int | None, there: int | None) -> Tokens:
    if given is not None:
        return Tokens(given, "--tokens")
    passes = int(section.max_epochs * there) if there else None
    if passes and passes <= (section.tokens or passes):
        return Tokens(passes, f"{section.max_epochs:g} passes over the run's {there:,}")
    if section.tokens:
        return Tokens(section.tokens, "training.tokens")
    return Tokens(OPTIMAL * sizes(c).parameters, "compute-optimal, as neither recipe nor run says how many")


def _micro_batch(section: TrainingSection, mine: int) -> int:
    """Of a device whose part of the batch is `mine` sequences."""
    if section.micro_batch != "auto":
        return min(section.micro_batch, mine)
    return _divisor(mine, MOST)


def _divisor(mine: int, most: int) -> int:
    return max(size for size in range(1, min(mine, most) + 1) if mine % size == 0)


def _flops_per_token(config: TransformerConfig) -> int:
    with torch.device("meta"):
        return Transformer(config).flops_per_token()


# --- what fits -----------------------------------------------------------------------------------------------------


def _strategies(section: TrainingSection, hardware: Hardware) -> tuple[Sharding, ...]:
    """One device splits nothing, and Muon needs whole matrices."""
    split = hardware.splits and hardware.count > 1 and section.optimizer.kind == "adamw"
    return STRATEGIES if split else ("ddp",)


def _choice(
    section: TrainingSection, s: Setting, hardware: Hardware, strategy: Sharding, recompute: Recompute
) -> Choice:
    def memory(micro_batch: int) -> Memory:
        return step_memory(
            s.config,
            micro_batch,
            precision=s.precision,
            recompute=recompute,
            kernel=s.kernel,
            optimizer=section.optimizer.kind,
            accumulate=micro_batch < s.batch // hardware.count,
            strategy=strategy,
            world=hardware.count,
            offload=section.offload,
            snapshot=True,
            device=hardware.device,
        )

    largest = 0
    step = SEARCHED
    while step:  # bit by bit: memory grows with the micro-batch
        if needed(memory(largest + step), hardware) <= hardware.usable:
            largest += step
        step //= 2
    share = share_bytes(s.config, section.optimizer.kind, strategy, hardware.count)
    return Choice(strategy, recompute, share, memory(s.micro_batch), largest)


def needed(memory: Memory, hardware: Hardware) -> int:
    """Bytes of a device; where that is the CPU, its memory holds all else too."""
    return memory.everything if hardware.device == "cpu" else memory.total


def _best(choices: list[Choice], s: Setting) -> Choice | None:
    """The first that keeps a device busy, as what computes least again and sends least comes first; where none
    does, what fits the most."""
    order = sorted(choices, key=lambda choice: RECOMPUTES.index(choice.recompute))
    enough = min(s.micro_batch, -(-ENOUGH // s.config.context))
    found = next((choice for choice in order if choice.largest >= enough), None)
    found = found or max(order, key=lambda choice: choice.largest)
    return found if found.largest else None


def planned_micro_batch(plan: Plan, choice: Choice) -> int:
    """Sequences at once that the plan comes to with this choice: its own number, or what fits of it."""
    mine = plan.setting.batch // plan.hardware.count
    if choice.largest >= plan.setting.micro_batch:
        return plan.setting.micro_batch
    return _divisor(mine, choice.largest)


def _own(choices: list[Choice], section: TrainingSection) -> Choice:
    """What the recipe says, as far as these devices can."""
    named = [choice for choice in choices if choice.strategy == section.strategy] or choices
    return next(choice for choice in named if choice.recompute == section.gradient_checkpointing)


# --- what it costs -------------------------------------------------------------------------------------------------


def _spent(
    recipe: Recipe,
    c: TransformerConfig,
    flops_per_token: int,
    tokens: int,
    hardware: Hardware,
    precision: Precision,
    choice: Choice,
) -> Spent:
    # A third of the blocks' share is their forward pass; what is kept selectively is the products, which are all of it
    # that counts.
    forward = 2 * sizes(c).blocks + 4 * c.layers * c.heads * c.head_width * c.context
    again = forward / flops_per_token if choice.recompute == "full" else 0.0
    flops = float(flops_per_token) * tokens
    device_hours = flops * (1 + again) / (hardware.peak(precision) * recipe.plan.utilisation) / 3600
    cost = None if recipe.plan.price is None else device_hours * recipe.plan.price
    return Spent(flops, again, device_hours / hardware.count, device_hours, cost)
