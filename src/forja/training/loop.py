"""The training loop, the only one. It knows steps, batches and checkpoints; nothing of runs or recipes.

Killed at any moment and called again with the same arguments, it ends with the same bits: all that
decides the steps to come is in the checkpoint, and a batch is a pure function of its step.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from forja.errors import ForjaError, Interrupted
from forja.progress import Bar, progress
from forja.training.checkpoints import list_checkpoints
from forja.training.compilation import uncompiled
from forja.training.guard import WINDOW, Guard
from forja.training.keeper import Keeper, Progress, resume
from forja.training.learner import Learner
from forja.training.logbook import Listener, Log, read_log
from forja.training.machine import peak_memory
from forja.training.objectives import Objective
from forja.training.optimizers import Optimizer
from forja.training.rules import Rule, StepFigures, examples_in, to_device, tokens_read
from forja.training.schedules import Schedule
from forja.training.stops import Stops
from forja.training.strategy import Strategy

LOG = Path("training") / "log.jsonl"
GUARD = Path("training") / "remedies.json"
CHECKPOINTS = Path("checkpoints")


class BatchSource(Protocol):
    def global_batch(self, step: int, rank: int = 0, world: int = 1) -> Any:
        """This rank's part of the batch at `step` (from 0): a named tuple of tensors, one row an example."""


Validate = Callable[[nn.Module, Strategy], float]
"""From the learner, as the strategy prepared it, to the mean validation loss, in nats."""


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


@dataclass
class _Loop:
    """What a training consists of while it runs."""

    called: nn.Module
    batches: BatchSource
    rule: Rule
    optimizer: Optimizer
    schedule: Schedule
    strategy: Strategy
    guard: Guard
    keeper: Keeper
    pace: Pace
    validate: Validate | None
    directory: Path
    listeners: Sequence[Listener]
    stops: Stops
    bar: Bar
    log: Log | None = None


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
    guard: Guard | None = None,
    validate: Validate | None = None,
    first: Callable[[], None] | None = None,
    seed: int = 0,
    description: dict[str, Any] | None = None,
    listeners: Sequence[Listener] = (),
) -> Progress:
    """Train until `pace.steps` or early stopping, going on from the newest checkpoint in `directory`.

    Writes directory/training/log.jsonl and directory/checkpoints/; `first` gives the model its weights where there is
    no checkpoint; `description` of the model goes into every checkpoint as model.json; `listeners` are told each line
    of the log. Raises ForjaError when the loss diverges for good, another process ends or the disk refuses, and
    Interrupted, the state saved, when asked to stop; earlier checkpoints stay as they are.
    """
    torch.manual_seed(seed)
    model.to(strategy.device)
    learner = Learner(model, objective)
    keeper = Keeper(
        directory / CHECKPOINTS,
        learner,
        optimizer,
        rule,
        strategy,
        description=description or {},
        keep_last=pace.keep_last,
        keep_every=pace.keep_every,
    )
    newest = keeper.newest()
    if newest is not None:
        keeper.check(newest)
    elif first is not None:
        first()
    called = strategy.prepare(learner, optimizer)
    at = resume(keeper, newest)
    guard = guard or Guard(directory / GUARD, action="stop", spike=0.0)
    with Stops() as stops, progress("training", total=pace.steps, unit="steps", done=at.step, show_rate=False) as bar:
        parts = (called, batches, rule, optimizer, schedule, strategy, guard, keeper, pace, validate, directory)
        loop = _Loop(*parts, listeners, stops, bar)
        try:
            _open_log(loop, at)
            at = _run(loop, at)
            keeper.wait()
        except RuntimeError as error:
            lost = _lost_process(error, strategy)
            if lost is None:
                raise
            raise lost from error
        finally:
            keeper.close()
            if loop.log:
                loop.log.close()
    return at


def _run(loop: _Loop, at: Progress) -> Progress:
    saved = at.step
    while True:
        if _validation_due(loop, at):
            at = _validated(loop, at)
        best_now = at.best_step == at.step
        if at.step > saved and (at.finished or best_now or at.step % loop.pace.checkpoint_every == 0):
            _save(loop, at)
            saved = at.step
        if at.finished:
            return at
        asked = _asked_to_stop(loop)
        if not asked:
            try:
                at = _stepped(loop, at)
            except Interrupted as interrupted:
                asked = interrupted.signum
        if at.step < saved:
            saved = at.step
        if asked:
            if at.step > saved:
                _save(loop, at, asked=True)
            loop.keeper.wait()
            raise Interrupted(asked)


def _asked_to_stop(loop: _Loop) -> int:
    """The signal that asked any of the processes to stop; 0 where none did."""
    asked = loop.stops.asked or 0
    if loop.strategy.world == 1:
        return asked
    others = torch.tensor([float(bool(asked))], device=loop.strategy.device)
    return (asked or signal.SIGTERM) if float(loop.strategy.reduce_sum(others)) else 0


def _save(loop: _Loop, at: Progress, *, asked: bool = False) -> None:
    if loop.log:
        loop.log.sync()
    loop.keeper.save(at, asked=asked)


def _stepped(loop: _Loop, at: Progress) -> Progress:
    """Progress after one more step, or after going back to a checkpoint."""
    step = at.step
    if loop.guard.skips(step):
        figures = None
        if loop.log:
            loop.log.write({"step": step + 1, "skipped": True})
        loop.bar.advance(1)
    else:
        figures, line = _step(loop, step)
        why = None if figures.skip else loop.guard.judge(figures.loss, figures.norm)
        if why is not None:
            return _go_back(loop, step + 1, why)
        if loop.log:
            loop.log.write(line)
        loop.bar.advance(1, note=f"loss {figures.loss:.3f} · {line['tokens_per_second']:,.0f} tokens/s")
    return replace(at, step=step + 1, finished=step + 1 >= loop.pace.steps)


def _step(loop: _Loop, step: int) -> tuple[StepFigures, dict[str, Any]]:
    """One update, and its line in the log."""
    start = time.perf_counter()
    strategy, optimizer = loop.strategy, loop.optimizer
    batch = to_device(loop.batches.global_batch(step, strategy.rank, strategy.world), strategy.device)
    factor = loop.schedule(step) * loop.guard.factor(step)
    figures = update(loop.called, batch, loop.rule, optimizer, factor, strategy, stops=loop.stops)
    seconds = time.perf_counter() - start
    tokens = tokens_read(batch) * strategy.world or (round(figures.weight) if math.isfinite(figures.weight) else 0)
    line = {
        "step": step + 1,
        "loss": figures.loss if math.isfinite(figures.loss) else None,
        "lr": max(optimizer.rates().values()),
        "rates": optimizer.rates(),
        "grad_norm": figures.norm if math.isfinite(figures.norm) else None,
        "tokens": tokens,
        "examples": examples_in(batch) * strategy.world,
        "seconds": round(seconds, 6),
        "tokens_per_second": round(tokens / seconds, 1),
    }
    return figures, line


def update(
    called: nn.Module,
    batch: Any,
    rule: Rule,
    optimizer: Optimizer,
    factor: float,
    strategy: Strategy,
    *,
    stops: Stops | None = None,
) -> StepFigures:
    """Gradients and one optimizer update at `factor` times the peak rates. Raises Interrupted, nothing changed, where
    `stops` is asked before the update."""
    called.train()
    optimizer.set_factor(factor)
    optimizer.zero_grad()
    # Several processes can only stop together, between steps.
    with (stops or Stops()).abandonable(strategy.world == 1):
        figures = rule.gradients(called, batch, strategy)
    if math.isfinite(figures.loss) and math.isfinite(figures.norm) and not figures.skip:
        strategy.step(optimizer)
    return figures


def _go_back(loop: _Loop, step: int, why: str) -> Progress:
    """Progress of the checkpoint that training goes on from, as step `step` diverged. Raises ForjaError where it is
    to stop instead."""
    loop.keeper.wait()
    saved = list_checkpoints(loop.directory / CHECKPOINTS)
    remedy = loop.guard.remedy(step, saved[-1] if saved else None, why, durable=loop.strategy.rank == 0)
    if remedy is None:
        kept = f"The checkpoint of step {saved[-1]} is untouched." if saved else "No checkpoint had been written yet."
        raise ForjaError(
            f"{why} at step {step}. {kept}",
            where="training",
            fix="Lower training.optimizer.rate (a third of it, say), lengthen training.schedule.warmup, "
            "or set training.precision to fp32, and run again.",
        )
    loop.bar.say(f"  {remedy.sentence()}")
    newest = loop.keeper.newest()
    assert newest is not None
    at = loop.keeper.restore(newest)
    loop.bar.advance(at.step - step + 1)
    _open_log(loop, at)
    return at


def _open_log(loop: _Loop, at: Progress) -> None:
    """Go on in the log after the steps that are done, whose losses the guard compares with."""
    path = loop.directory / LOG
    if loop.log:
        loop.log.close()
    if loop.strategy.rank == 0:
        loop.log = Log(path, after_step=at.step, listeners=loop.listeners)
    loop.strategy.wait_for_all()
    losses = [line["loss"] for line in read_log(path) if line["step"] <= at.step and line.get("loss") is not None]
    loop.guard.start_from(losses[-WINDOW:])


def _validation_due(loop: _Loop, at: Progress) -> bool:
    due = at.finished or at.step % loop.pace.valid_every == 0
    return loop.validate is not None and due and at.step > at.validated


def _validated(loop: _Loop, at: Progress) -> Progress:
    """Progress after a validation: a new best, or one more without improvement, which may end training."""
    assert loop.validate is not None
    start = time.perf_counter()
    loop.called.eval()
    with torch.no_grad(), uncompiled():
        loss = loop.validate(loop.called, loop.strategy)
    seconds = time.perf_counter() - start
    better = loss < at.best_loss - loop.pace.min_delta
    worse = 0 if better else at.worse + 1
    stop = worse >= loop.pace.patience and not at.finished
    if loop.log:
        line = {"step": at.step, "valid_loss": loss if math.isfinite(loss) else None, "seconds": round(seconds, 6)}
        loop.log.write({**line, "peak_memory_bytes": peak_memory()})
    loop.bar.say(f"  step {at.step:,}: validation loss {loss:.4f}{' (best so far)' if better else ''}")
    if stop:
        loop.bar.say(f"  stopping early: no improvement in {worse} validations")
    at = replace(at, validated=at.step)
    if better:
        return replace(at, best_step=at.step, best_loss=loss, worse=0)
    return replace(at, worse=worse, finished=at.finished or stop, stopped_early=stop)


def mean_loss(parts: Sequence[Any]) -> Validate:
    """A validation over fixed micro-batches: the weighted mean of their losses, split over processes."""

    def validate(called: nn.Module, strategy: Strategy) -> float:
        totals = torch.zeros(2, dtype=torch.float64, device=strategy.device)
        # Every process calls the model equally often, as gathering split weights takes all of them.
        for first in range(0, len(parts), strategy.world):
            place = first + strategy.rank
            with strategy.autocast():
                losses = called(to_device(parts[min(place, len(parts) - 1)], strategy.device))
            if place < len(parts):
                totals += torch.stack((losses.sums.sum(), losses.weights.sum())).double()
        nats, weight = strategy.reduce_sum(totals).tolist()
        return nats / weight if weight else math.nan

    return validate


def _lost_process(error: RuntimeError, strategy: Strategy) -> ForjaError | None:
    """The error as a sentence where it says that another process is gone."""
    told = str(error)
    if strategy.world == 1 or not (isinstance(error, torch.distributed.DistError) or "gloo" in told or "NCCL" in told):
        return None
    return ForjaError(
        f"another process of this training has ended or is out of reach ({told.splitlines()[0]}).",
        where=f"process {strategy.rank} of {strategy.world}",
        fix="Its own error says why. What was saved is untouched: start all of them again.",
    )
