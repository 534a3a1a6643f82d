"""The pretraining stage: from a recipe's sections to the one loop, and the figures of what came out."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from forja.errors import ForjaError
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.progress import say
from forja.recipe import ModelSection, TrainingSection, fitting_objective
from forja.run import read_json, write_json_atomic
from forja.tokens.corruption import objective_batches, objective_slots
from forja.tokens.loader import Batches, TokenSplit, spread_slots
from forja.tokens.pairs import count_pairs
from forja.training.bigrams import MOST_TOKENS, fit_bigrams
from forja.training.checkpoints import checkpoint_folder
from forja.training.compilation import compile_model
from forja.training.distributed import strategy_for
from forja.training.guard import Guard
from forja.training.keeper import Progress
from forja.training.logbook import log_totals
from forja.training.loop import CHECKPOINTS, GUARD, LOG, Pace, Validate, mean_loss, train
from forja.training.machine import keep_memory, peak_memory
from forja.training.objectives import OBJECTIVES
from forja.training.optimizers import build_optimizer
from forja.training.processes import Company, rank, world_size
from forja.training.resolve import Resolved, Work, batch_size, optimizer_settings, resolved_once
from forja.training.rules import MeanGradient, micro_batches
from forja.training.schedules import schedule
from forja.training.strategy import Strategy
from forja.training.tracking import TRACKING, require_packages, tracking

RESULT = Path("training") / "result.json"
RESOLVED = Path("training") / "resolved.json"


@dataclass(frozen=True)
class TrainingFigures:
    """What training came to. seconds: of steps alone, resumes included; valid_loss: the best, nats a token;
    rollbacks: how often the loss diverged and training went back."""

    parameters: int
    steps: int
    tokens: int
    seconds: float
    validation_seconds: float
    tokens_per_second: float
    gflops_per_second: float | None
    peak_memory_bytes: int
    best_step: int
    valid_loss: float | None
    stopped_early: bool
    rollbacks: int
    resolved: dict[str, Any]
    measured: dict[str, Any]


def pretrain(
    section: TrainingSection,
    model_section: ModelSection,
    tokens_folder: Path,
    workspace: Path,
    *,
    seed: int,
    company: Company | None = None,
) -> TrainingFigures:
    """Train from `tokens_folder`, going on from whatever `workspace` holds of the same plan.

    Writes workspace/training/{resolved.json, log.jsonl, result.json, tracking/} and workspace/checkpoints/. company: of
    the processes that a launcher started, all of which call this.
    Raises ForjaError for too little text, a loss that diverges for good, a tracker that is not installed, or a disk
    that refuses.
    """
    require_packages(section.tracking)
    if section.gradient_checkpointing == "none":
        keep_memory()  # for speed; who computes again rather than keep wants buffers given back
    split = TokenSplit.open(tokens_folder, "train")
    _require_sequences(split, tokens_folder)
    model = Transformer(resolve_config(model_section, vocabulary=split.vocabulary, context=split.context))
    model.init_weights(seed)
    aim = fitting_objective(section.objective, model_section.architecture)
    objective = OBJECTIVES[aim]
    batch = batch_size(section, split.sequences, split.context, world_size())
    if split.sequences < batch:
        say(f"  the training text is only {split.sequences:,} sequences, fewer than a batch of {batch}")
    batches = objective_batches(Batches(split, batch_size=batch, seed=seed), aim, tokens_folder)
    work = Work(model, objective, batches, split.sequences, world_size())
    resolved, measured = _resolved(section, work, batch, workspace, company or Company())

    torch.set_num_threads(resolved.threads)
    strategy = strategy_for(section.strategy, resolved.precision, offload=section.offload)
    model.use_attention(resolved.attention)
    model.use_recompute(section.gradient_checkpointing)
    if resolved.compile:
        compile_model(model)
    shape, care = section.schedule, section.divergence
    config = {
        "training": {**section.model_dump(mode="json"), **asdict(resolved)},
        "model": asdict(model.config),
        "seed": seed,
    }
    trackers = section.tracking if strategy.rank == 0 else []
    run = tokens_folder.parent.name
    with tracking(trackers, workspace / LOG, workspace / TRACKING, run=run, config=config) as listeners:
        at = train(
            model,
            batches,
            objective,
            MeanGradient(resolved.micro_batch, section.optimizer.clip),
            build_optimizer(model, optimizer_settings(section.optimizer)),
            schedule(shape.kind, resolved.steps, warmup=shape.warmup, decay=shape.decay, floor=shape.floor),
            strategy,
            workspace,
            pace=Pace(
                steps=resolved.steps,
                valid_every=section.valid_every,
                checkpoint_every=section.checkpoint_every,
                keep_last=section.keep_last,
                keep_every=section.keep_every,
                patience=section.patience,
                min_delta=section.min_delta,
            ),
            guard=Guard(workspace / GUARD, action=care.action, spike=care.spike, rollbacks=care.rollbacks),
            validate=validation(tokens_folder, section.valid_sequences, resolved.micro_batch, aim),
            first=partial(start_from_bigrams, model, split, strategy, seed)
            if section.first_weights == "bigrams"
            else None,
            seed=seed,
            description=asdict(model.config),
            listeners=listeners,
        )
    if strategy.rank == 0:
        write_result(workspace, at)
    strategy.close()
    return _figures(model, at, workspace, asdict(resolved), measured)


def _resolved(
    section: TrainingSection, work: Work, batch: int, workspace: Path, company: Company
) -> tuple[Resolved, dict[str, Any]]:
    """Resolved by rank 0 and taken over by the others."""
    path = workspace / RESOLVED
    if rank() > 0:
        company.hear()
        return resolved_once(path, section, work, batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    resolved, measured = resolved_once(path, section, work, batch)
    company.tell({"resolved": True})
    return resolved, measured


def start_from_bigrams(model: Transformer, split: TokenSplit, strategy: Strategy, seed: int) -> None:
    """First weights from the training split's bigrams, for a model that is still whole; the same in each process."""
    start = time.perf_counter()
    pairs = count_pairs(split, MOST_TOKENS)
    if not len(pairs.times):
        return  # all of the text is erased
    nats = fit_bigrams(model, pairs, seed=seed, bfloat16=strategy.precision == "bf16")
    for weights in (model.embedding.weight.data, model.unembedding.data):
        weights.copy_(strategy.reduce_sum(weights if strategy.rank == 0 else torch.zeros_like(weights)))
    took = time.perf_counter() - start
    say(f"  first weights from {pairs.times.sum():,} pairs of tokens: {nats:.3f} nats a token ({took:.1f} s)")


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint with the best weights, of a run or a workspace. Raises ForjaError before training is done."""
    result = read_json(folder / RESULT)
    if result is None:
        raise ForjaError("no training has finished here.", where=str(folder), fix="Run the pretrain stage.")
    return folder / str(result["best"])


def _require_sequences(split: TokenSplit, tokens_folder: Path) -> None:
    if split.sequences == 0:
        raise ForjaError(
            f"the training text is {split.tokens:,} tokens, less than one sequence of {split.context + 1}.",
            where=str(tokens_folder),
            fix="Add sources to the recipe, or lower tokens.context.",
        )


def validation(tokens_folder: Path, sequences: int, micro_batch: int, objective: str = "next-token") -> Validate | None:
    """The mean loss, nats a token, over slots spread evenly over the validation split, always the same; None,
    said aloud, where the split is smaller than one sequence."""
    split = TokenSplit.open(tokens_folder, "valid")
    if split.sequences == 0:
        say("  the validation split is smaller than one sequence: training runs without validation")
        return None
    slots = spread_slots(split.sequences, sequences)
    return mean_loss(list(micro_batches(objective_slots(split, slots, objective, tokens_folder), micro_batch)))


def write_result(workspace: Path, at: Progress) -> None:
    """Say in training/result.json which checkpoint is the best."""
    best = at.best_step if at.best_step >= 0 else at.step
    write_json_atomic(
        workspace / RESULT,
        {
            "best": checkpoint_folder(CHECKPOINTS, best).as_posix(),
            "best_step": best,
            "valid_loss": at.best_loss if math.isfinite(at.best_loss) else None,
            "steps": at.step,
            "stopped_early": at.stopped_early,
        },
    )


def _figures(
    model: Transformer, at: Progress, workspace: Path, resolved: dict[str, Any], measured: dict[str, Any]
) -> TrainingFigures:
    totals = log_totals(workspace / LOG)
    decoder = model.config.architecture == "decoder"  # others read more tokens than they predict
    return TrainingFigures(
        parameters=model.num_parameters(),
        steps=at.step,
        tokens=totals.tokens,
        seconds=round(totals.seconds, 3),
        validation_seconds=round(totals.validation_seconds, 3),
        tokens_per_second=round(totals.tokens_per_second, 1),
        gflops_per_second=round(totals.tokens_per_second * model.flops_per_token() / 1e9, 1) if decoder else None,
        peak_memory_bytes=max(totals.peak_memory_bytes, peak_memory()),
        best_step=at.best_step if at.best_step >= 0 else at.step,
        valid_loss=at.best_loss if math.isfinite(at.best_loss) else None,
        stopped_early=at.stopped_early,
        rollbacks=len(read_json(workspace / GUARD) or []),
        resolved=resolved,
        measured=measured,
    )
