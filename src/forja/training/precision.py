"""Which precision to compute in: measured on the model's own matrix products, never assumed.

Machines of one name differ: one multiplies bf16 ten times faster than fp32, its twin half as fast.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_GAIN, FP16_GAIN = 1.05, 1.10
"""How much faster bf16 must be than fp32, and fp16 than both, to be worth its casts and its risk."""


class Product(NamedTuple):
    """One linear layer's shape: (rows, inner) times (inner, columns), `count` times a step."""

    rows: int
    inner: int
    columns: int
    count: int = 1


class PrecisionChoice(NamedTuple):
    """The choice, and GFLOP/s measured for each candidate (None: given up as too slow)."""

    precision: Precision
    gflops: dict[str, float | None]

    def sentence(self) -> str:
        told = ", ".join(f"{name} {rate:,.0f}" if rate else f"{name} very slow" for name, rate in self.gflops.items())
        return f"precision {self.precision} (this model's products run at {told} GFLOP/s)"


def choose_precision(products: Sequence[Product], *, device: str = "cpu", seconds: float = 0.5) -> PrecisionChoice:
    """The fastest safe precision for these products, forward and backward, in about `seconds`.

    bf16 keeps fp32 master weights, so it is safe wherever it is fast; fp16 also needs its loss scaled.
    """
    share = seconds / 3
    fp32 = _rate(products, torch.float32, device, share, floor=0.0)
    gflops: dict[str, float | None] = {"fp32": fp32}
    best: Precision = "fp32"
    candidates: tuple[tuple[Precision, float], ...] = (("bf16", BF16_GAIN), ("fp16", FP16_GAIN))
    for name, gain in candidates:
        rate = _rate(products, DTYPES[name], device, share, floor=0.3 * (fp32 or 1.0))
        gflops[name] = rate
        if rate is not None and rate > gain * (gflops[best] or 0.0):
            best = name
    return PrecisionChoice(best, gflops)


def _rate(products: Sequence[Product], dtype: torch.dtype, device: str, seconds: float, floor: float) -> float | None:
    """GFLOP/s over the products' three layouts, weighted by work; None once a small one runs below `floor`."""
    spent = work = 0.0
    try:
        for product in products:
            for layout in _layouts(product, dtype, device):
                operations = 2.0 * product.rows * product.inner * product.columns
                # Some layouts run a hundred times below the rest: a thin slice tells, before the whole is tried.
                thin = _timed(layout.thin, layout.thin_operations, seconds / 30)
                if thin < floor / 4:
                    return None
                rate = _timed(layout.whole, operations, seconds / (3 * len(products)))
                spent += product.count * operations / rate
                work += product.count * operations
    except RuntimeError:  # this precision has no such product on this device
        return None
    return work / spent


class _Layout(NamedTuple):
    whole: tuple[torch.Tensor, torch.Tensor]
    thin: tuple[torch.Tensor, torch.Tensor]
    thin_operations: float


def _layouts(product: Product, dtype: torch.dtype, device: str) -> list[_Layout]:
    """Forward, input gradient and weight gradient of one linear layer."""
    rows, inner, columns, _ = product
    x = torch.ones(rows, inner, dtype=dtype, device=device)
    weight = torch.ones(columns, inner, dtype=dtype, device=device)
    slope = torch.ones(rows, columns, dtype=dtype, device=device)
    few = min(16, rows)
    return [
        _Layout((x, weight.t()), (x[:few], weight.t()), 2.0 * few * inner * columns),
        _Layout((slope, weight), (slope[:few], weight), 2.0 * few * inner * columns),
        _Layout((slope.t(), x), (slope.t()[:few], x), 2.0 * few * rows * inner),
    ]


def _timed(factors: tuple[torch.Tensor, torch.Tensor], operations: float, seconds: float) -> float:
    """GFLOP/s of one product: the best of what fits in `seconds`, at least one after a first."""
    a, b = factors
    wait = torch.cuda.synchronize if a.is_cuda else _nothing
    best, end = float("inf"), time.perf_counter() + seconds
    torch.mm(a, b)
    wait()
    while True:
        start = time.perf_counter()
        torch.mm(a, b)
        wait()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return operations / max(best, 1e-9) / 1e9


def _nothing() -> None:
    pass


def model_products(layers: int, width: int, attention: int, ffn: int, vocabulary: int, rows: int) -> list[Product]:
    """A transformer's distinct linear layers: `attention` is qkv's columns, `ffn` the first feed-forward's."""
    return [
        Product(rows, width, attention, layers),
        Product(rows, width, width, layers),
        Product(rows, width, ffn, layers),
        Product(rows, ffn, width, layers),
        Product(rows, width, vocabulary, 1),
    ]
