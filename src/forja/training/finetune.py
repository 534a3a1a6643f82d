"""The fine-tuning stage: a base, examples and a recipe's section to the one loop, and the figures of what came out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from forja.models.base import Base
from forja.models.foreign import ForeignClassifier, ForeignDecoder
from forja.models.layers import layer_numbers
from forja.models.transformer import Transformer, TransformerConfig
from forja.models.tuned import Head, Shape, build_tuned
from forja.progress import progress, say
from forja.recipe import FinetuneSection
from forja.run import read_json, write_json_atomic
from forja.training.distributed import strategy_for
from forja.training.examples import ExampleBatches, Preferences, micro_parts
from forja.training.guard import Guard
from forja.training.logbook import log_totals
from forja.training.loop import GUARD, LOG, Pace, mean_loss, train
from forja.training.machine import keep_memory, peak_memory, physical_cores
from forja.training.objectives import Classification, DirectPreference, Objective, answer_nats, next_token
from forja.training.optimizers import Optimizer, OptimizerSettings, build_optimizer
from forja.training.precision import Precision, choose_precision, model_products
from forja.training.pretrain import RESOLVED, write_result
from forja.training.processes import Company, local_world_size, rank, world_size
from forja.training.rules import MeanGradient
from forja.training.schedules import schedule
from forja.training.strategy import OneProcess
from forja.training.task_data import TaskData

VALIDATIONS_AN_EPOCH = 4
NEW_LAYERS = ("score", "classifier", "pre_classifier")


@dataclass(frozen=True)
class TuningResolved:
    """A fine-tuning section with no `auto` left, by the section's own names, and the steps that its epochs are."""

    threads: int
    precision: Precision
    micro_batch: int
    steps: int
    valid_every: int


@dataclass(frozen=True)
class FinetuneFigures:
    """What fine-tuning came to. trained_parameters: those that were not frozen; examples: read, repetitions included;
    valid_loss: the best, nats an example (a token where text is predicted)."""

    parameters: int
    trained_parameters: int
    steps: int
    examples: int
    seconds: float
    validation_seconds: float
    examples_per_second: float
    peak_memory_bytes: int
    best_step: int
    valid_loss: float | None
    stopped_early: bool
    rollbacks: int
    resolved: dict[str, Any]
    measured: dict[str, Any]


def finetune(
    section: FinetuneSection,
    base: Base,
    data: TaskData,
    workspace: Path,
    *,
    seed: int,
    company: Company | None = None,
) -> FinetuneFigures:
    """Train the base on `data.train`, going on from whatever `workspace` holds of the same plan.

    Writes workspace/training/{resolved.json, log.jsonl, result.json} and workspace/checkpoints/. company: of the
    processes that a launcher started, all of which call this. Raises ForjaError for a base that cannot learn this, a
    loss that diverges for good, or a disk that refuses.
    """
    shape = shape_of(section, data.head, seed)
    model = build_tuned(base, shape)
    if section.gradient_checkpointing:
        _compute_again(model)
    else:
        keep_memory()  # for speed; who computes again rather than keep wants buffers given back
    batches = ExampleBatches(data.train, batch_size=section.batch, seed=seed)
    resolved, measured = _resolved(section, model, batches, workspace, company or Company())
    torch.set_num_threads(resolved.threads)
    strategy = strategy_for(section.strategy, resolved.precision)
    objective = _objective(section, data)
    if isinstance(data.train, Preferences):
        for part in filter(None, (data.train, data.valid)):
            assert isinstance(part, Preferences)
            part.reference = _reference(build_tuned(base, replace(shape, lora=None)), part, resolved)
    care, timing = section.divergence, section.schedule
    at = train(
        model,
        batches,
        objective,
        MeanGradient(resolved.micro_batch, section.optimizer.clip),
        tuning_optimizer(model, section),
        schedule(timing.kind, resolved.steps, warmup=timing.warmup, decay=timing.decay, floor=timing.floor),
        strategy,
        workspace,
        pace=Pace(
            steps=resolved.steps,
            valid_every=resolved.valid_every,
            checkpoint_every=section.checkpoint_every,
            keep_last=1,
            patience=section.patience,
            min_delta=section.min_delta,
        ),
        guard=Guard(workspace / GUARD, action=care.action, spike=care.spike, rollbacks=care.rollbacks),
        validate=None if data.valid is None else mean_loss(micro_parts(data.valid, 2 * resolved.micro_batch)),
        seed=seed,
        description={"base": base.named, "kind": section.kind, "labels": data.head.labels if data.head else None},
    )
    if strategy.rank == 0:
        write_result(workspace, at)
    strategy.close()
    totals = log_totals(workspace / LOG)
    examples = at.step * batches.batch_size
    return FinetuneFigures(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained_parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        steps=at.step,
        examples=examples,
        seconds=round(totals.seconds, 3),
        validation_seconds=round(totals.validation_seconds, 3),
        examples_per_second=round(examples / max(totals.seconds, 1e-9), 1),
        peak_memory_bytes=max(totals.peak_memory_bytes, peak_memory()),
        best_step=at.best_step if at.best_step >= 0 else at.step,
        valid_loss=at.best_loss if math.isfinite(at.best_loss) else None,
        stopped_early=at.stopped_early,
        rollbacks=len(read_json(workspace / GUARD) or []),
        resolved=asdict(resolved),
        measured=measured,
    )


def shape_of(section: FinetuneSection, head: Head | None, seed: int) -> Shape:
    """What the section makes of a base."""
    return Shape(head, section.from_scratch, section.lora, section.freeze_layers, section.ngrams, seed)


def tuning_optimizer(model: nn.Module, section: FinetuneSection) -> Optimizer:
    """AdamW whose rates fall from layer to layer (Howard and Ruder 2018, section 3.2), new layers at their own."""
    asked = section.optimizer
    numbers = layer_numbers(model)
    top = max(numbers.values(), default=0)
    scales = {name: asked.layer_decay ** (top - number) for name, number in numbers.items()}
    if asked.head_rate is not None:
        fresh = [name for name in numbers if set(NEW_LAYERS) & set(name.split(".")[:2])]
        scales.update(dict.fromkeys(fresh, asked.head_rate / asked.rate))
    if asked.embedding_rate is not None:
        scales.update({name: asked.embedding_rate / asked.rate for name, number in numbers.items() if number == 0})
    scales.update({name: asked.ngram_rate / asked.rate for name in numbers if name.startswith("ngrams.")})
    settings = OptimizerSettings(
        rate=asked.rate, weight_decay=asked.weight_decay, betas=asked.betas, epsilon=asked.epsilon
    )
    return build_optimizer(model, settings, scales=scales)


def _objective(section: FinetuneSection, data: TaskData) -> Objective:
    if data.head is not None:
        return Classification(regression=data.head.regression, smoothing=section.label_smoothing)
    return DirectPreference(section.dpo_beta) if section.kind == "preference" else next_token


def _resolved(
    section: FinetuneSection, model: nn.Module, batches: ExampleBatches, workspace: Path, company: Company
) -> tuple[TuningResolved, dict[str, Any]]:
    """Resolved by rank 0, durably before first use, and taken over by the others and by a resumed run."""
    path = workspace / RESOLVED
    if rank() > 0:
        company.hear()
    kept = read_json(path)
    if kept is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        resolved, measured = _resolve(section, model, batches)
        kept = {"resolved": asdict(resolved), "measured": measured}
        write_json_atomic(path, kept)
    if rank() == 0:
        company.tell({"resolved": True})
    return TuningResolved(**kept["resolved"]), kept["measured"]


def _resolve(
    section: FinetuneSection, model: nn.Module, batches: ExampleBatches
) -> tuple[TuningResolved, dict[str, Any]]:
    measured: dict[str, Any] = {}
    threads = max(1, physical_cores() // local_world_size()) if section.threads == "auto" else section.threads
    torch.set_num_threads(threads)
    mine = max(1, batches.batch_size // world_size())
    micro_batch = mine if section.micro_batch == "auto" else min(section.micro_batch, mine)
    if section.precision == "auto":
        rows = int(np.mean(batches.examples.lengths) * micro_batch)
        choice = choose_precision(_products(model, max(16, rows)), device=OneProcess().device.type)
        precision, measured["precision"] = choice.precision, {"gflops": choice.gflops}
        say(f"  {choice.sentence()}")
    else:
        precision = section.precision
    steps = max(1, round(section.epochs * batches.an_epoch))
    often = max(1, batches.an_epoch // VALIDATIONS_AN_EPOCH) if section.valid_every == "auto" else section.valid_every
    say(f"  {steps:,} steps of {batches.batch_size} examples, {section.epochs:g} epochs")
    return TuningResolved(threads, precision, micro_batch, steps, often), measured


def _products(model: nn.Module, rows: int) -> list[Any]:
    """The products that a step is made of, of which the precision is told."""
    config: Any = model.config
    if isinstance(config, TransformerConfig):
        attention = (config.heads + 2 * config.kv_heads) * config.head_width
        return model_products(config.layers, config.width, attention, config.ffn_width, config.width, rows)
    return model_products(config.layers, config.width, 3 * config.width, 4 * config.width, config.width, rows)


def _compute_again(model: nn.Module) -> None:
    """Keep little for the backward pass."""
    for module in model.modules():
        if isinstance(module, Transformer):
            module.use_recompute("full")
        elif isinstance(module, ForeignDecoder | ForeignClassifier):
            module.inner.gradient_checkpointing_enable()


@torch.no_grad()
def _reference(base: nn.Module, pairs: Preferences, resolved: TuningResolved) -> torch.Tensor:
    """Nats that the base gives each pair's answers, (pairs, 2): found once, as the base does not change."""
    strategy = OneProcess(resolved.precision)
    base.to(strategy.device).eval()
    found = torch.zeros(len(pairs.lengths), 2)
    with progress("the base's own answers", total=len(found), unit="pairs") as bar:
        for start in range(0, len(found), resolved.micro_batch):
            places = np.arange(start, min(start + resolved.micro_batch, len(found)))
            with strategy.autocast():
                found[places] = answer_nats(base, pairs.batch(places)).float().cpu()
            bar.advance(len(places))
    return found
