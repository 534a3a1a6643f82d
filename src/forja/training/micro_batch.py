"""How many sequences fit in memory at once: tried on a GPU until it is full, counted on a CPU before it is.

A GPU that is full says so, and a smaller try follows. A machine that is full kills the process, so there one small
forward pass tells what a sequence keeps, and the rest is counted against what the machine or the cgroup allows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from forja.errors import ForjaError
from forja.training.machine import available_memory, peak_memory

MOST = 32
"""Sequences beyond which nothing gets faster; nor, on a CPU, beyond so many tokens:"""
MOST_TOKENS = 8192
BESIDES = 128 * 2**20
"""What kernels and the allocator take on a CPU beside the tensors."""
SHARE = 0.8
"""Of the memory that is free, what is counted on."""


def largest_micro_batch(
    trial: Callable[[int], int], needed: Callable[[int], int], batch: int, context: int
) -> tuple[int, dict[str, Any]]:
    """The largest divisor of `batch` that fits, and what was measured. Raises ForjaError where nothing fits.

    trial: makes an update with so many sequences of `context` tokens, or with as many as fit, and says how many those
    are; needed: the bytes that it takes beside what the process has already.
    """
    sizes = [size for size in range(min(batch, MOST), 0, -1) if batch % size == 0]
    return _on_gpu(trial, sizes) if torch.cuda.is_available() else _on_cpu(needed, sizes, context)


def _on_gpu(trial: Callable[[int], int], sizes: list[int]) -> tuple[int, dict[str, Any]]:
    fits = trial(sizes[0])
    gc.collect()
    torch.cuda.empty_cache()
    return next(size for size in sizes if size <= fits), {"peak_bytes": peak_memory()}


def _on_cpu(needed: Callable[[int], int], sizes: list[int], context: int) -> tuple[int, dict[str, Any]]:
    free = available_memory()
    room = int(SHARE * free) - BESIDES
    for size in sizes:
        if size <= max(1, MOST_TOKENS // context) and (bytes_needed := needed(size)) <= room:
            return size, {"needed_bytes": bytes_needed, "room_bytes": room}
    raise ForjaError(
        f"there is not enough memory to train this model: it takes {needed(1) / 1e9:.1f} GB for one sequence at a "
        f"time, and of the {free / 1e9:.1f} GB that are free {max(0, room) / 1e9:.1f} can be counted on.",
        where="training",
        fix="Lower model.width or model.layers, set training.gradient_checkpointing to full, or give the process more "
        "memory.",
    )


class Kept:
    """Entered around a forward pass: `bytes` counts what it keeps for the backward pass, each tensor's storage once."""

    def __init__(self, weights: torch.nn.Module) -> None:
        self._known = {parameter.untyped_storage().data_ptr() for parameter in weights.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor)
        self.bytes = 0

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor

    def __enter__(self) -> Kept:
        self._hooks.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._hooks.__exit__(*failure)
