"""What training can be planned for: accelerators by their makers' figures, and this machine as measured."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from forja.errors import ForjaError
from forja.training.machine import available_memory, physical_cores
from forja.training.memory import Device
from forja.training.precision import DTYPES, Precision

GIB = 1024**3
THIS = "this"
HEADROOM: dict[Device, float] = {"cuda": 0.1, "cpu": 0.2}
"""Of the memory: an accelerator's context, communication buffers, and what the allocator cannot use; here, the
holes that the heap keeps between buffers."""
SIDE, SECONDS = 2048, 1.0
"""Of the square product that is timed here, and about how long a precision."""


@dataclass(frozen=True)
class Hardware:
    """`count` devices alike. memory: bytes of one; flops: its peak of dense products, FLOP/s by precision.

    source: where the figures are from; node: devices in one machine; splits: whether a strategy can split a model
    over them (on TPUs Forja has copies alone).
    """

    name: str
    memory: int
    flops: Mapping[str, float]
    source: str
    node: int = 8
    count: int = 1
    device: Device = "cuda"
    splits: bool = True

    @property
    def usable(self) -> int:
        """Bytes of one device that a plan may fill."""
        return int((1 - HEADROOM[self.device]) * self.memory)

    def peak(self, precision: Precision) -> float:
        """FLOP/s. Raises ForjaError where the maker gives none."""
        if precision not in self.flops:
            raise ForjaError(
                f"there is no figure for {precision} on {self.name} ({self.source}).",
                where="training.precision",
                fix=f"Use {' or '.join(self.flops)}.",
            )
        return self.flops[precision]


def _nvidia(name: str, gib: int, half: float, single: float, source: str, *, node: int = 8, count: int = 1) -> Hardware:
    flops = {"bf16": half * 1e12, "fp16": half * 1e12, "fp32": single * 1e12}
    return Hardware(name, gib * GIB, flops, source, node=node, count=count)


A100 = "NVIDIA A100 data sheet, June 2021"
NAMED = {
    hardware.name: hardware
    for hardware in (
        # Half precision without sparsity and accumulated in float32; float32 outside the tensor cores, as PyTorch
        # multiplies by default.
        _nvidia("a100", 80, 312, 19.5, A100),
        _nvidia("h100", 80, 989.4, 66.9, "NVIDIA H100 (SXM5) data sheet and Hopper whitepaper, 2022"),
        _nvidia("h200", 141, 989.4, 66.9, "NVIDIA H200 (SXM) data sheet, 2024"),
        _nvidia("rtx3090", 24, 71.2, 35.6, "NVIDIA Ampere GA102 whitepaper, 2021", node=2),
        _nvidia("rtx4090", 24, 165.2, 82.6, "NVIDIA Ada whitepaper, 2022", node=2),
        _nvidia("p4d", 40, 312, 19.5, f"AWS p4d.24xlarge: 8 A100 of 40 GB; {A100}", count=8),
        Hardware("tpu-v5e", 16 * GIB, {"bf16": 197e12}, "Google Cloud TPU v5e documentation, 2023", splits=False),
    )
}


def find_hardware(name: str) -> Hardware:
    """What `name` means: `a100`, `a100x8` for eight, `p4dx2` for two machines of eight, or `this`.

    Measures for two or three seconds where it is `this`. Raises ForjaError for a name that is not known.
    """
    kind, many = _split(name.strip().lower())
    if kind == THIS and many == 1:
        return measure_this()
    if kind not in NAMED or many < 1:
        known = [*NAMED, THIS]
        near = difflib.get_close_matches(kind, known, n=1, cutoff=0.3)
        hint = f"Did you mean `{near[0]}`? " if near and near[0] != kind else ""
        raise ForjaError(
            f"there is no hardware named {name!r}.",
            fix=f"{hint}Known are {', '.join(known)}; several as in a100x8.",
        )
    found = NAMED[kind]
    return replace(found, name=name.strip().lower(), count=found.count * many)


def _split(name: str) -> tuple[str, int]:
    """`a100x8` as `a100` and 8."""
    counted = re.fullmatch(r"(.+?)x(\d+)", name)
    return (counted[1], int(counted[2])) if counted and name not in NAMED else (name, 1)


def measure_this() -> Hardware:
    """This machine's GPUs, or its processor and the memory that is free, with the speed of products measured."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        count = torch.cuda.device_count()
        flops = {str(name): rate for name, dtype in DTYPES.items() if (rate := _product_flops(dtype, "cuda"))}
        told = f"{count} x {device.name}, products measured here"
        return Hardware(THIS, int(device.total_memory), flops, told, node=count, count=count)
    threads, cores = torch.get_num_threads(), physical_cores()
    torch.set_num_threads(cores)
    try:
        # Processors without fp16 products take a hundred times as long for one, which would make this minutes.
        some: tuple[Precision, ...] = ("fp32", "bf16")
        flops = {str(name): rate for name in some if (rate := _product_flops(DTYPES[name], "cpu"))}
    finally:
        torch.set_num_threads(threads)
    told = f"{cores} core{'s' if cores > 1 else ''}, free memory and products measured here"
    return Hardware(THIS, available_memory(), flops, told, node=1, device="cpu")


def _product_flops(dtype: torch.dtype, device: str) -> float | None:
    """FLOP/s of the best of a second's square products; None where this precision has none on this device."""
    wait = torch.cuda.synchronize if device == "cuda" else _nothing
    x = torch.ones(SIDE, SIDE, dtype=dtype, device=device)
    try:
        best, end = _seconds(x, wait), time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            best = min(best, _seconds(x, wait))
    except RuntimeError:
        return None
    return 2.0 * SIDE**3 / best


def _seconds(x: torch.Tensor, wait: Callable[[], None]) -> float:
    start = time.perf_counter()
    torch.mm(x, x)
    wait()
    return max(time.perf_counter() - start, 1e-9)


def _nothing() -> None:
    pass
