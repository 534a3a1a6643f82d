"""The training loop, the only one. It knows steps, batches and checkpoints; nothing of runs or recipes.

Killed at any moment and called again with the same arguments, it ends with the same bits: all that
decides the steps to come is in the checkpoint, and a batch is a pure function of its step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from forja.errors import ForjaError
from forja.progress import Bar, progress, say
from forja.training.checkpoints import (
    Checkpoint,
    checkpoint_folder,
    latest_checkpoint,
    list_checkpoints,
    prune_checkpoints,
    save_checkpoint,
)
from forja.training.compilation import uncompiled
from forja.training.logbook import Listener, Log
from forja.training.machine import peak_memory
from forja.training.objectives import Objective
from forja.training.optimizers import Optimizer
from forja.training.rules import Rule, StepFigures, examples_in, to_device
from forja.training.schedules import Schedule
from forja.training.strategy import Strategy

LOG = Path("training") / "log.jsonl"
CHECKPOINTS = Path("checkpoints")


class BatchSource(Protocol):
    def global_batch(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """This rank's part of the batch at `step` (from 0): a named tuple of tensors, one row an example."""


Validate = Callable[[nn.Module, Strategy], float]
"""The mean validation loss, in nats."""


@dataclass(frozen=True)
class Progress:
    """Where training stands after `step` updates; `best_step` -1 before any validation."""

    step: int = 0
    best_step: int = -1
    best_loss: float = math.inf
    worse: int = 0
    finished: bool = False
    stopped_early: bool = False


@dataclass(frozen=True)
class Pace:
    """How often what happens, in steps; `patience` in validations, `min_delta` in nats."""

    steps: int
    valid_every: int = 100
    checkpoint_every: int = 100
    keep_last: int = 2
    keep_every: int | None = None
    patience: int = 10
    min_delta: float = 0.0


def train(
    model: nn.Module,
    batches: BatchSource,
    objective: Objective,
    rule: Rule,
    optimizer: Optimizer,
    schedule: Schedule,
    strategy: Strategy,
    directory: Path,
    *,
    pace: Pace,
    validate: Validate | None = None,
    seed: int = 0,
    description: dict[str, Any] | None = None,
    listeners: Sequence[Listener] = (),
) -> Progress:
    """Train until `pace.steps` or early stopping, going on from the newest checkpoint in `directory`.

    Writes directory/training/log.jsonl and directory/checkpoints/; `description` of the model goes
    into every checkpoint as model.json; `listeners` are told each line of the log, in the first process alone.
    Raises ForjaError when the loss is not finite or the disk refuses; earlier checkpoints stay as they are.
    """
    torch.manual_seed(seed)
    model.to(strategy.device)
    at = _resume(model, optimizer, rule, directory)
    called = strategy.prepare(model, optimizer)
    main = strategy.rank == 0
    log = Log(directory / LOG, after_step=at.step, listeners=listeners) if main else None
    try:
        with progress("training", total=pace.steps, unit="steps", done=at.step, show_rate=False) as bar:
            while not at.finished:
                figures = _step(called, batches, objective, rule, optimizer, schedule, strategy, at.step, log, bar)
                at = replace(at, step=at.step + 1, finished=at.step + 1 >= pace.steps)
                _require_finite(figures, at.step, directory)
                if validate and (at.finished or at.step % pace.valid_every == 0):
                    at = _validated(at, validate, called, strategy, pace, log, bar)
                best_now = at.best_step == at.step
                if at.finished or best_now or at.step % pace.checkpoint_every == 0:
                    if main and log:
                        log.sync()
                        _save(model, optimizer, rule, at, directory, pace, description or {})
                    strategy.wait_for_all()
    finally:
        if log:
            log.close()
    return at


def _step(
    model: nn.Module,
    batches: BatchSource,
    objective: Objective,
    rule: Rule,
    optimizer: Optimizer,
    schedule: Schedule,
    strategy: Strategy,
    step: int,
    log: Log | None,
    bar: Bar,
) -> StepFigures:
    """One update, logged as step `step` + 1."""
    start = time.perf_counter()
    batch = to_device(batches.global_batch(step, strategy.rank, strategy.world), strategy.device)
    figures = update(model, batch, objective, rule, optimizer, schedule(step), strategy)
    seconds = time.perf_counter() - start
    tokens = round(figures.weight) if math.isfinite(figures.weight) else 0
    pace = tokens / seconds
    if log:
        log.write(
            {
                "step": step + 1,
                "loss": figures.loss if math.isfinite(figures.loss) else None,
                "lr": max(optimizer.rates().values()),
                "rates": optimizer.rates(),
                "grad_norm": figures.norm if math.isfinite(figures.norm) else None,
                "tokens": tokens,
                "examples": examples_in(batch) * strategy.world,
                "seconds": round(seconds, 6),
                "tokens_per_second": round(pace, 1),
            }
        )
    bar.advance(1, note=f"loss {figures.loss:.3f} · {pace:,.0f} tokens/s")
    return figures


def update(
    model: nn.Module,
    batch: Any,
    objective: Objective,
    rule: Rule,
    optimizer: Optimizer,
    factor: float,
    strategy: Strategy,
) -> StepFigures:
    """Gradients and one optimizer update at `factor` times the peak rates."""
    model.train()
    optimizer.set_factor(factor)
    optimizer.zero_grad()
    figures = rule.gradients(model, batch, objective, strategy)
    if math.isfinite(figures.loss) and math.isfinite(figures.norm) and not figures.skip:
        optimizer.step()
    return figures


def _require_finite(figures: StepFigures, step: int, directory: Path) -> None:
    if math.isfinite(figures.loss) and (figures.skip or math.isfinite(figures.norm)):
        return
    saved = list_checkpoints(directory / CHECKPOINTS)
    kept = f"The checkpoint of step {saved[-1]} is untouched." if saved else "No checkpoint had been written yet."
    raise ForjaError(
        f"the loss became {figures.loss} at step {step} (gradient norm {figures.norm}). {kept}",
        where="training",
        fix="Lower training.optimizer.rate (a third of it, say), lengthen training.schedule.warmup, "
        "or set training.precision to fp32, and run again.",
    )


def _validated(
    at: Progress,
    validate: Validate,
    model: nn.Module,
    strategy: Strategy,
    pace: Pace,
    log: Log | None,
    bar: Bar,
) -> Progress:
    """Progress after a validation: a new best, or one more without improvement, which may end training."""
    start = time.perf_counter()
    model.eval()
    with torch.no_grad(), uncompiled():
        loss = validate(model, strategy)
    seconds = time.perf_counter() - start
    better = loss < at.best_loss - pace.min_delta
    worse = 0 if better else at.worse + 1
    stop = worse >= pace.patience and not at.finished
    if log:
        line = {"step": at.step, "valid_loss": loss if math.isfinite(loss) else None, "seconds": round(seconds, 6)}
        log.write({**line, "peak_memory_bytes": peak_memory()})
    bar.say(f"  step {at.step:,}: validation loss {loss:.4f}{' (best so far)' if better else ''}")
    if stop:
        bar.say(f"  stopping early: no improvement in {worse} validations")
    if better:
        return replace(at, best_step=at.step, best_loss=loss, worse=0)
    return replace(at, worse=worse, finished=at.finished or stop, stopped_early=stop)


# --- checkpoints ------------------------------------------------------------------------------


def _save(
    model: nn.Module,
    optimizer: Optimizer,
    rule: Rule,
    at: Progress,
    directory: Path,
    pace: Pace,
    description: dict[str, Any],
) -> None:
    state = {
        "best_step": at.best_step,
        "best_loss": at.best_loss if math.isfinite(at.best_loss) else None,
        "worse": at.worse,
        "finished": at.finished,
        "stopped_early": at.stopped_early,
        "rule": rule.state(),
    }
    tensors = {**optimizer.state_tensors(), "rng": torch.get_rng_state()}
    folder = directory / CHECKPOINTS
    save_checkpoint(folder, Checkpoint(at.step, model_tensors(model), tensors, state, description))
    best = at.best_step if at.best_step >= 0 else None
    prune_checkpoints(folder, keep_last=pace.keep_last, best=best, keep_every=pace.keep_every)


def _resume(model: nn.Module, optimizer: Optimizer, rule: Rule, directory: Path) -> Progress:
    checkpoint = latest_checkpoint(directory / CHECKPOINTS)
    if checkpoint is None:
        return Progress()
    say(f"  going on from step {checkpoint.step:,}")
    load_model_tensors(model, checkpoint.model, where=str(checkpoint_folder(directory / CHECKPOINTS, checkpoint.step)))
    states = dict(checkpoint.optimizer)
    torch.set_rng_state(states.pop("rng"))
    optimizer.load_state_tensors(states)
    state = checkpoint.state
    rule.load_state(state["rule"])
    best = state["best_loss"]
    return Progress(
        step=checkpoint.step,
        best_step=state["best_step"],
        best_loss=math.inf if best is None else best,
        worse=state["worse"],
        finished=state["finished"],
        stopped_early=state["stopped_early"],
    )


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each once though it be used twice."""
    shared: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if value.data_ptr() not in shared or value.numel() == 0:
            tensors[name] = value
        shared.add(value.data_ptr())
    return tensors


def load_model_tensors(model: nn.Module, tensors: dict[str, Tensor], *, where: str) -> None:
    """Put `tensors` into the model, in place. Raises ForjaError when they belong to another one."""
    wanted = model_tensors(model)
    strange = sorted(wanted.keys() ^ tensors.keys())
    strange += [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
    if strange:
        raise ForjaError(f"the weights are another model's: {', '.join(strange[:3])} do not fit.", where=where)
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(tensors[name])


def mean_loss(objective: Objective, parts: Sequence[Any]) -> Validate:
    """A validation over fixed micro-batches: the weighted mean of their losses, split over processes."""

    def validate(model: nn.Module, strategy: Strategy) -> float:
        totals = torch.zeros(2, dtype=torch.float64, device=strategy.device)
        owner = getattr(model, "module", model)  # no gradient crosses processes here
        for part in parts[strategy.rank :: strategy.world]:
            with strategy.autocast():
                losses = objective(owner, to_device(part, strategy.device))
            totals += torch.stack((losses.sums.sum(), losses.weights.sum())).double()
        nats, weight = strategy.reduce_sum(totals).tolist()
        return nats / weight if weight else math.nan

    return validate
