"""A training's checkpoints: written beside the steps that follow, and taken up again."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from forja.progress import say
from forja.training.checkpoints import (
    Checkpoint,
    checkpoint_folder,
    latest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from forja.training.learner import Learner
from forja.training.optimizers import Optimizer
from forja.training.rules import Rule
from forja.training.strategy import Strategy
from forja.training.tensors import require_same_shapes

RNG = "rng"


@dataclass(frozen=True)
class Progress:
    """Where training stands after `step` updates; `best_step` -1 before any validation, the last at `validated`."""

    step: int = 0
    best_step: int = -1
    best_loss: float = math.inf
    worse: int = 0
    finished: bool = False
    stopped_early: bool = False
    validated: int = 0


class Keeper:
    """Saves and restores all that decides the steps to come: weights, optimizer, rule, random generator, progress.

    What is saved is copied in memory, and written by another thread while training goes on.
    """

    def __init__(
        self,
        folder: Path,
        learner: Learner,
        optimizer: Optimizer,
        rule: Rule,
        strategy: Strategy,
        *,
        description: dict[str, Any],
        keep_last: int,
        keep_every: int | None,
    ) -> None:
        self.folder, self.description = folder, description
        self.learner, self.optimizer, self.rule, self.strategy = learner, optimizer, rule, strategy
        self.keep_last, self.keep_every = keep_last, keep_every
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def newest(self) -> Checkpoint | None:
        """The newest sound checkpoint, which must be of this model. Raises ForjaError."""
        self.wait()
        found = None
        for turn in (self.strategy.rank == 0, self.strategy.rank > 0):  # the first clears away what is damaged
            if turn:
                found = latest_checkpoint(self.folder)
            self.strategy.wait_for_all()
        return found

    def check(self, checkpoint: Checkpoint) -> None:
        """Raises ForjaError where it is another model's; to be called before the model is split."""
        where = str(checkpoint_folder(self.folder, checkpoint.step))
        require_same_shapes(self.learner.model, checkpoint.model, where=where)

    def restore(self, checkpoint: Checkpoint) -> Progress:
        """Take it up. Raises ForjaError."""
        states = dict(checkpoint.optimizer)
        torch.set_rng_state(states.pop(RNG))
        self.strategy.put(self.learner, self.optimizer, checkpoint.model, states)
        self.rule.load_state(checkpoint.state["rule"])
        known = {name: checkpoint.state[name] for name in asdict(Progress()) if name in checkpoint.state}
        best = checkpoint.state["best_loss"]
        return Progress(**{**known, "step": checkpoint.step, "best_loss": math.inf if best is None else best})

    def save(self, at: Progress, *, asked: bool = False) -> None:
        """Copy what there is now, and begin to write it. asked: at no step of the run's own, so that the next one's
        takes its place. Raises ForjaError where the one before could not be written."""
        model, tensors = self.strategy.whole(self.learner, self.optimizer)
        self.wait()
        if self.strategy.rank > 0:
            return
        tensors[RNG] = torch.get_rng_state()
        state = {
            **asdict(at),
            "best_loss": at.best_loss if math.isfinite(at.best_loss) else None,
            "rule": self.rule.state(),
            "asked": asked,
        }
        checkpoint = Checkpoint(at.step, model, tensors, state, self.description)
        self._writing = self._writer.submit(self._write, checkpoint, at.best_step, prune=not asked)

    def _write(self, checkpoint: Checkpoint, best: int, *, prune: bool) -> None:
        save_checkpoint(self.folder, checkpoint)
        if prune:
            prune_checkpoints(
                self.folder,
                keep_last=self.keep_last,
                best=best if best >= 0 else None,
                keep_every=self.keep_every,
            )

    def wait(self) -> None:
        """Until what was last saved is on the disk. Raises ForjaError where it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        self._writer.shutdown()


def resume(keeper: Keeper, checkpoint: Checkpoint | None) -> Progress:
    """Progress of the checkpoint taken up, or none."""
    if checkpoint is None:
        return Progress()
    say(f"  going on from step {checkpoint.step:,}")
    return keeper.restore(checkpoint)
