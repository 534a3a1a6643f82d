"""One process or many behind one small front: device, precision, and what crosses processes.

The loop is written against `Strategy`. One process needs nothing of Accelerate, which takes seconds
to import; several, or a launcher's settings in the environment, get Accelerate's own machinery.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from forja.training.optimizers import Optimizer
from forja.training.precision import DTYPES, Precision


class Strategy(Protocol):
    """How one step's computation is spread; `rank` of `world` processes, all on `device`."""

    precision: Precision

    @property
    def rank(self) -> int: ...
    @property
    def world(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def prepare(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        """The model as it is to be called; the optimizer is made ready in place."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes run inside."""

    def accumulate(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """A micro-batch's forward and backward run inside; gradients cross processes only at the last."""

    def backward(self, loss: Tensor) -> None: ...

    def reduce_sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over processes."""

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

    def prepare(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        return model

    @contextmanager
    def autocast(self) -> Iterator[None]:
        if self.precision == "fp32":
            yield
            return
        with torch.autocast(self.device.type, dtype=DTYPES[self.precision]):
            yield

    def accumulate(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def reduce_sum(self, value: Tensor) -> Tensor:
        return value

    def wait_for_all(self) -> None:
        pass

    def close(self) -> None:
        pass


class Accelerated:
    """Accelerate's processes, as `accelerate launch` or `torchrun` set them up."""

    def __init__(self, precision: Precision = "fp32", *, cpu: bool = False) -> None:
        # Imported once a process group is there (by DDP, say), this module would keep hold of it for good.
        import torch.distributed.nn  # noqa: F401
        from accelerate import Accelerator

        self.precision: Precision = precision
        # fp16's loss is scaled by the gradient rule, once for all strategies, so none is asked for here.
        self.accelerator = Accelerator(mixed_precision="no", cpu=cpu)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device

    def prepare(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        prepared: nn.Module = self.accelerator.prepare_model(model)
        return prepared

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def accumulate(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(model)

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def reduce_sum(self, value: Tensor) -> Tensor:
        reduced: Tensor = self.accelerator.reduce(value, reduction="sum")
        return reduced

    def wait_for_all(self) -> None:
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        # A thread of the group that frees a tensor after the interpreter's end aborts the process.
        # They end with the group, and that with the last model which holds it.
        self.accelerator.free_memory()
        self.accelerator.end_training()
        gc.collect()


def strategy_here(precision: Precision) -> Strategy:
    """One process, or Accelerate where a launcher set several up."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return Accelerated(precision, cpu=not torch.cuda.is_available())
    return OneProcess(precision)
