"""Gradient rules: how a batch's losses become the gradients of one step.

A rule owns micro-batches, backward, accumulation, clipping, and any state that a checkpoint must
hold. This is the plain one: the mean over all weighted tokens, clipped by its global norm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from forja.errors import ForjaError
from forja.progress import say
from forja.training.strategy import Strategy


class StepFigures(NamedTuple):
    """loss: mean nats over all processes; norm: of the gradient before clipping; weight: loss weight in all.

    `skip`: the gradients overflowed (fp16) and no update is to be made of them.
    """

    loss: float
    norm: float
    weight: float
    skip: bool = False


class Rule(Protocol):
    """Leaves the step's gradients in `parameter.grad`."""

    def gradients(self, called: nn.Module, batch: Any, strategy: Strategy) -> StepFigures:
        """called: from a batch to its losses, as the strategy prepared it."""

    def state(self) -> dict[str, Any]:
        """JSON: what a checkpoint must hold."""

    def load_state(self, state: dict[str, Any]) -> None: ...


class MeanGradient:
    """The gradient of the mean loss, `micro_batch` examples at a time, its norm at most `clip` (0: any).

    fp16 scales the loss by a power of two that is halved when gradients overflow and doubled after
    2,000 sound steps (Micikevicius et al. 2018, section 3.2). Where memory runs out, micro-batches are
    halved for good, which changes nothing but rounding.
    """

    def __init__(self, micro_batch: int, clip: float = 1.0) -> None:
        self.micro_batch, self.clip = micro_batch, clip
        self.scale, self.sound_steps = 16.0, 0

    def gradients(self, called: nn.Module, batch: Any, strategy: Strategy) -> StepFigures:
        """Raises ForjaError where one example at a time is too much for the memory."""
        while True:
            try:
                return self._gradients(called, batch, strategy)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                self._halve(strategy)
            called.zero_grad(set_to_none=True)  # outside the handler, which holds what the failed pass had made
            if strategy.device.type == "cuda":
                torch.cuda.empty_cache()

    def _gradients(self, called: nn.Module, batch: Any, strategy: Strategy) -> StepFigures:
        scale = self.scale if strategy.precision == "fp16" else 1.0
        totals = torch.zeros(2, dtype=torch.float64, device=strategy.device)  # nats and weight
        parts = list(micro_batches(batch, self.micro_batch))
        for number, part in enumerate(parts):
            with strategy.accumulate(called, last=number == len(parts) - 1):
                with strategy.autocast():
                    losses = called(part)
                total = losses.sums.sum()
                strategy.backward(total if scale == 1.0 else total * scale)
            totals += torch.stack((total.detach(), losses.weights.sum())).double()
        totals = strategy.reduce_sum(totals)
        nats, weight = totals.tolist()
        # The processes' gradients are of sums; the mean's gradient is their sum over the sum of weights.
        norm = strategy.finish_gradients(called, 1 / (scale * weight) if weight else 0.0, self.clip)
        skip = strategy.precision == "fp16" and self._rescale(sound=math.isfinite(norm))
        return StepFigures(nats / weight if weight else 0.0, norm, weight, skip)

    def _halve(self, strategy: Strategy) -> None:
        if self.micro_batch == 1 or strategy.world > 1:
            raise ForjaError(
                f"there is not enough memory for micro-batches of {self.micro_batch}.",
                where="training",
                fix="Lower training.micro_batch, set training.gradient_checkpointing to selective or full, or lower "
                "tokens.context.",
            ) from None
        self.micro_batch = (self.micro_batch + 1) // 2
        say(f"  out of memory: micro-batches are {self.micro_batch} from here on; the batch stays what it was")

    def _rescale(self, sound: bool) -> bool:
        """Adapt the loss scale; whether this step must be skipped."""
        if not sound:
            self.scale, self.sound_steps = max(self.scale / 2, 2.0**-24), 0
            return True
        self.sound_steps += 1
        if self.sound_steps >= 2000:
            self.scale, self.sound_steps = self.scale * 2, 0
        return False

    def state(self) -> dict[str, Any]:
        return {"scale": self.scale, "sound_steps": self.sound_steps, "micro_batch": self.micro_batch}

    def load_state(self, state: dict[str, Any]) -> None:
        self.scale, self.sound_steps = float(state["scale"]), int(state["sound_steps"])
        self.micro_batch = int(state.get("micro_batch", self.micro_batch))


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether it says so: a GPU's has a class of its own, the CPU's allocator only words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def examples_in(batch: Any) -> int:
    """How many examples a batch holds: a named tuple of tensors (or None), one row an example; it may be empty."""
    return next((len(value) for value in _tensors(batch).values()), 0)


def tokens_read(batch: Any) -> int:
    """Tokens of a batch of texts whose targets are no tokens; 0 for any other, whose weights tell."""
    mask = getattr(batch, "mask", None)
    return 0 if mask is None else int(mask.sum())


def micro_batches(batch: Any, size: int) -> Iterator[Any]:
    """The batch in parts of `size` examples, the last perhaps smaller; none for an empty batch."""
    for start in range(0, examples_in(batch), size):
        yield batch._replace(**{name: value[start : start + size] for name, value in _tensors(batch).items()})


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on `device`."""
    if device.type == "cpu":
        return batch
    return batch._replace(**{name: value.to(device, non_blocking=True) for name, value in _tensors(batch).items()})


def _tensors(batch: Any) -> dict[str, Tensor]:
    return {name: value for name, value in batch._asdict().items() if isinstance(value, Tensor)}
