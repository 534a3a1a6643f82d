"""Which precision to compute in: measured on the model's own matrix products, never assumed.

Machines of one name differ: one multiplies bf16 ten times faster than fp32, its twin half as fast.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_GAIN, FP16_GAIN = 1.05, 1.10
"""How much faster bf16 must be than fp32, and fp16 than both, to be worth its casts and its risk."""

THIN, TOO_LONG = 64, 0.5
"""Rows of the slice tried first, and the seconds that a whole product may take by its account."""


class Product(NamedTuple):
    """One linear layer's shape: (rows, inner) times (inner, columns), `times` a step."""

    rows: int
    inner: int
    columns: int
    times: int = 1


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
    gflops: dict[str, float | None] = {"fp32": _rate(products, torch.float32, device, share)}
    best: Precision = "fp32"
    candidates: tuple[tuple[Precision, float], ...] = (("bf16", BF16_GAIN), ("fp16", FP16_GAIN))
    for name, gain in candidates:
        rate = _rate(products, DTYPES[name], device, share)
        gflops[name] = rate
        if rate is not None and rate > gain * (gflops[best] or 0.0):
            best = name
    return PrecisionChoice(best, gflops)


def _rate(products: Sequence[Product], dtype: torch.dtype, device: str, seconds: float) -> float | None:
    """GFLOP/s over the products' three layouts, weighted by work; None once one would take far too long."""
    spent = work = 0.0
    try:
        for product in products:
            for a, b in _layouts(product, dtype, device):
                # Some layouts run a hundred times below the rest: a thin slice tells, before the whole is tried.
                thin = a[: min(THIN, a.shape[0])]
                if _seconds(thin, b, 0.0) * a.shape[0] / thin.shape[0] > TOO_LONG:
                    return None
                spent += product.times * _seconds(a, b, seconds / (3 * len(products)))
                work += product.times * 2.0 * a.shape[0] * a.shape[1] * b.shape[1]
    except RuntimeError:  # this precision has no such product on this device
        return None
    return float(f"{work / spent / 1e9:.4g}")


def _layouts(product: Product, dtype: torch.dtype, device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Forward, input gradient and weight gradient of one linear layer, as pairs of factors."""
    rows, inner, columns, _ = product
    x = torch.ones(rows, inner, dtype=dtype, device=device)
    weight = torch.ones(columns, inner, dtype=dtype, device=device)
    slope = torch.ones(rows, columns, dtype=dtype, device=device)
    yield x, weight.t()
    yield slope, weight
    yield slope.t(), x


def _seconds(a: torch.Tensor, b: torch.Tensor, budget: float) -> float:
    """Seconds of one product: the best of what fits in `budget`, at least one after a first."""
    wait = torch.cuda.synchronize if a.is_cuda else _nothing
    best, end = float("inf"), time.perf_counter() + budget
    torch.mm(a[: min(THIN, a.shape[0])], b)
    wait()
    while True:
        start = time.perf_counter()
        torch.mm(a, b)
        wait()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return max(best, 1e-9)


def _nothing() -> None:
    pass


def model_products(layers: int, width: int, attention: int, ffn: int, vocabulary: int, rows: int) -> list[Product]:
    """A transformer's distinct linear layers: `attention` is qkv's columns, `ffn` the first feed-forward's.

    The output layer stands as several narrower ones, and rows are at most 1,024: as telling, and quicker.
    """
    rows = min(rows, 1024)
    parts = -(-vocabulary // 4096)
    return [
        Product(rows, width, attention, layers),
        Product(rows, width, width, layers),
        Product(rows, width, ffn, layers),
        Product(rows, ffn, width, layers),
        Product(rows, width, vocabulary // parts, parts),
    ]
