"""How a step is spread over processes: the small front that the loop is written against, and one process alone.

Several processes are in `distributed.py`, whose machinery takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from forja.training.learner import Learner
from forja.training.optimizers import Optimizer
from forja.training.precision import DTYPES, Precision
from forja.training.tensors import cpu_copies, model_tensors

Tensors = dict[str, Tensor]
Named = Mapping[str, Tensor]


class Strategy(Protocol):
    """How one step's computation is spread; `rank` of `world` processes, all on `device`.

    Whatever is said of all processes is to be called by all of them.
    """

    precision: Precision

    @property
    def rank(self) -> int: ...
    @property
    def world(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def prepare(self, learner: Learner, optimizer: Optimizer) -> nn.Module:
        """The learner as it is to be called; model and optimizer are made ready in place."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes run inside."""

    def accumulate(self, called: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """A micro-batch's forward and backward run inside; gradients cross processes at the last, at the latest."""

    def backward(self, loss: Tensor) -> None: ...

    def finish_gradients(self, called: nn.Module, factor: float, clip: float) -> float:
        """Make what was summed over all processes `factor` times as large, its norm at most `clip` (0: any); returns
        the norm before clipping."""

    def step(self, optimizer: Optimizer) -> None:
        """Apply the gradients."""

    def reduce_sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over processes."""

    def whole(self, learner: Learner, optimizer: Optimizer) -> tuple[Tensors, Tensors]:
        """Copies in this process's memory of all model and optimizer tensors, unsplit, by name; empty but at rank 0."""

    def put(self, learner: Learner, optimizer: Optimizer, model: Named, state: Named) -> None:
        """The inverse of `whole`, every process given all tensors."""

    def wait_for_all(self) -> None: ...

    def close(self) -> None:
        """Part from the other processes; nothing may cross afterwards."""


class OneProcess:
    """This process alone, with autocast for the half precisions (weights stay float32)."""

    rank = 0
    world = 1

    def __init__(self, precision: Precision = "fp32", device: str | None = None) -> None:
        self.precision: Precision = precision
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def prepare(self, learner: Learner, optimizer: Optimizer) -> nn.Module:
        return learner

    @contextmanager
    def autocast(self) -> Iterator[None]:
        if self.precision == "fp32":
            yield
            return
        with torch.autocast(self.device.type, dtype=DTYPES[self.precision]):
            yield

    def accumulate(self, called: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def finish_gradients(self, called: nn.Module, factor: float, clip: float) -> float:
        return scale_and_clip(called, factor, clip)

    def step(self, optimizer: Optimizer) -> None:
        optimizer.step()

    def reduce_sum(self, value: Tensor) -> Tensor:
        return value

    def whole(self, learner: Learner, optimizer: Optimizer) -> tuple[Tensors, Tensors]:
        return cpu_copies(model_tensors(learner.model)), cpu_copies(optimizer.state_tensors())

    def put(self, learner: Learner, optimizer: Optimizer, model: Named, state: Named) -> None:
        put_whole(learner, optimizer, model, state)

    def wait_for_all(self) -> None:
        pass

    def close(self) -> None:
        pass


def scale_and_clip(called: nn.Module, factor: float, clip: float) -> float:
    """Scale the gradients in place, their norm at most `clip` (0: any); returns the norm before clipping."""
    gradients = [p.grad for p in called.parameters() if p.grad is not None]
    if not gradients:
        return 0.0
    total: Any = torch.nn.utils.get_total_norm(gradients)
    if hasattr(total, "full_tensor"):  # of gradients that are split over processes
        total = total.full_tensor()
    norm = float(total) * factor
    if clip and norm > clip:
        factor *= clip / (norm + 1e-6)
    torch._foreach_mul_(gradients, factor)
    return norm


def put_whole(learner: Learner, optimizer: Optimizer, model: Named, state: Named) -> None:
    """Copy whole tensors into a model and an optimizer that are whole here."""
    with torch.no_grad():
        for name, value in model_tensors(learner.model).items():
            value.copy_(model[name])
    optimizer.load_state_tensors(state)
