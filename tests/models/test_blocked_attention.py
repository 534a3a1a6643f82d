"""Attention by blocks is attention: the same values and slopes as torch's own, at any length."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forja.models.blocked_attention import blocked_attention


@settings(max_examples=12, deadline=None)
@given(time=st.integers(1, 400), groups=st.sampled_from([1, 2, 4]), seed=st.integers(0, 2**31))
@example(time=127, groups=1, seed=0)
@example(time=256, groups=1, seed=0)
@example(time=257, groups=2, seed=0)
def test_values_and_slopes_are_those_of_the_fused_kernel(time: int, groups: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 4, time, 8, generator=source, requires_grad=True)
    k, v = (torch.randn(2, 4 // groups, time, 8, generator=source, requires_grad=True) for _ in range(2))
    slope = torch.randn(q.shape, generator=source)
    blocked = blocked_attention(q, k, v)
    fused = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=groups > 1)
    assert torch.allclose(blocked, fused, atol=1e-5)
    slopes = (torch.autograd.grad(out, (q, k, v), slope) for out in (blocked, fused))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*slopes, strict=True))


def test_bf16_stays_bf16_and_close() -> None:
    q, k, v = (torch.randn(1, 2, 200, 16, generator=torch.Generator().manual_seed(i)) for i in range(3))
    out = blocked_attention(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert out.dtype == torch.bfloat16
    assert (out.float() - F.scaled_dot_product_attention(q, k, v, is_causal=True)).abs().max() == pytest.approx(
        0, abs=0.05
    )
