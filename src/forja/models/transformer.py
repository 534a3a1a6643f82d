"""The transformer, top to bottom, decoder-only. It returns hidden states; losses and logits are
made from them by whoever needs them, so that the largest tensor of all is never made by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forja.models.blocked_attention import blocked_attention

Activation = Literal["gelu", "gelu_tanh", "swiglu", "relu2"]
AttentionKernel = Literal["fused", "blocked"]
"""torch's own, or `blocked_attention`: the same mathematics, and which is quicker depends on the processor."""


@dataclass(frozen=True)
class TransformerConfig:
    """A transformer's shape. `vocab_size` is the padded one; `context` is in tokens."""

    vocab_size: int
    context: int
    layers: int
    heads: int
    kv_heads: int
    width: int
    head_width: int
    ffn_width: int
    activation: Activation
    norm: Literal["layernorm", "rmsnorm"]
    positions: Literal["learned", "rope"]
    rope_theta: float
    qk_norm: bool
    bias: bool
    tie_embeddings: bool
    norm_eps: float
    logit_softcap: float | None = None


class KVCache:
    """Keys and values of the tokens seen so far: per layer (batch, kv_heads, capacity, head_width).

    capacity: tokens that there is room for, the whole context by default.
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch: int = 1,
        *,
        capacity: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        capacity = min(capacity or config.context, config.context)
        shape = (config.layers, batch, config.kv_heads, capacity, config.head_width)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (batch, kv_heads, new, head_width) behind what is there; returns all of the layer's so far."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021), halves paired as in GPT-NeoX.

    x: (batch, heads, time, head_width); cos, sin: (time, head_width / 2).
    """
    a, b = x.chunk(2, dim=-1)  # (batch, heads, time, head_width / 2) each
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square normalisation (Zhang and Sennrich 2019), its weight in the precision of what it scales:
    in autocast PyTorch has a fused kernel for that and none for a mixture."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Causal self-attention (Vaswani et al. 2017, section 3.2), with grouped queries (Ainslie et al. 2023)."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.kernel: AttentionKernel = "fused"
        self.sizes = [config.heads * config.head_width] + [config.kv_heads * config.head_width] * 2
        self.qkv = nn.Linear(config.width, sum(self.sizes), bias=config.bias)
        self.out = nn.Linear(self.sizes[0], config.width, bias=config.bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_width, eps=config.norm_eps)
            self.k_norm = RMSNorm(config.head_width, eps=config.norm_eps)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, cache: KVCache | None) -> Tensor:
        batch, time, _ = x.shape
        c = self.config
        q, k, v = self.qkv(x).split(self.sizes, dim=-1)  # (batch, time, heads * head_width) each
        q = q.view(batch, time, c.heads, c.head_width)
        k = k.view(batch, time, c.kv_heads, c.head_width)
        v = v.view(batch, time, c.kv_heads, c.head_width).transpose(1, 2)  # (batch, kv_heads, time, head_width)
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)  # (batch, heads, time, head_width)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        # In autocast the norms give float32; the product runs in the precision of the values.
        q, k = q.to(v.dtype), k.to(v.dtype)
        mask = None
        if cache is not None:
            past = cache.length
            k, v = cache.extend(self.layer, k, v)
            if past > 0 and time > 1:
                mask = torch.ones(time, past + time, dtype=torch.bool, device=x.device).tril(past)
        if self.kernel == "blocked" and cache is None:
            y = blocked_attention(q, k, v)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None and time > 1, enable_gqa=c.kv_heads != c.heads
            )
        y = y.transpose(1, 2).reshape(batch, time, self.sizes[0])  # (batch, time, heads * head_width)
        return self.out(y)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """GELU (Hendrycks and Gimpel 2016), exact or by tanh, ReLU² (So et al. 2021), or SwiGLU (Shazeer 2020), its
    gate and up projections fused."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activation = config.activation
        hidden = config.ffn_width * (2 if config.activation == "swiglu" else 1)
        self.up = nn.Linear(config.width, hidden, bias=config.bias)
        self.down = nn.Linear(config.ffn_width, config.width, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)  # (batch, time, ffn_width), or twice as wide: gate, then up
        if self.activation == "swiglu":
            gate, up = h.chunk(2, dim=-1)
            h = F.silu(gate) * up
        elif self.activation == "relu2":
            h = F.relu(h).square()
        else:
            h = F.gelu(h, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        return self.down(h)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then feed-forward, each on the normalised stream and added to it."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.ffn_norm = make_norm(config)
        self.ffn = FeedForward(config)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, cache: KVCache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, cache)
        return x + self.ffn(self.ffn_norm(x))  # type: ignore[no-any-return]


def make_norm(config: TransformerConfig) -> nn.Module:
    if config.norm == "rmsnorm":
        return RMSNorm(config.width, eps=config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)


class Transformer(nn.Module):
    """tokens (batch, time) int64 -> hidden states after the last norm (batch, time, width).

    With a cache, tokens follow those that it holds. Raises ValueError past the context or the cache's room.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context, config.width)
        else:
            self.register_buffer("cos", torch.empty(config.context, config.head_width // 2), persistent=False)
            self.register_buffer("sin", torch.empty(config.context, config.head_width // 2), persistent=False)
            self.fill_rotation()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.final_norm = make_norm(config)
        if not config.tie_embeddings:
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)

    def fill_rotation(self) -> None:
        """Compute the rotary tables, (context, head_width / 2); they are in no checkpoint."""
        c = self.config
        frequency = c.rope_theta ** (-torch.arange(0, c.head_width, 2).float() / c.head_width)
        angle = torch.outer(torch.arange(c.context).float(), frequency)
        self.cos.copy_(angle.cos())
        self.sin.copy_(angle.sin())

    @property
    def unembedding(self) -> Tensor:
        """The output matrix, (vocab_size, width)."""
        return self.embedding.weight if self.config.tie_embeddings else self.head.weight

    def forward(self, tokens: Tensor, *, cache: KVCache | None = None) -> Tensor:
        time = tokens.shape[1]
        start = 0 if cache is None else cache.length
        room = self.config.context if cache is None else cache.keys.shape[3]
        if start + time > room:
            raise ValueError(f"{start + time} tokens do not fit: there is room for {room}")
        x = self.embedding(tokens)  # (batch, time, width)
        rotation = None
        if self.config.positions == "learned":
            x = x + self.position_embedding.weight[start : start + time]
        else:
            rotation = (self.cos[start : start + time], self.sin[start : start + time])
        for block in self.blocks:
            x = block(x, rotation, cache)
        if cache is not None:
            cache.length += time
        return self.final_norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (..., width) -> logits (..., vocab_size)."""
        logits = hidden @ self.unembedding.t()
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def init_weights(self, seed: int) -> None:
        """Initialise in place from `seed` alone.

        As GPT-2 (Radford et al. 2019, section 2.3): N(0, 0.02), residual projections divided by
        sqrt(2 x layers). With RMSNorm, as modded-nanogpt: matrices N(0, 1 / fan-in) scaled by 0.5,
        residual projections zero, so that every block starts as the identity, and an untied output layer
        zero, so that every token starts as likely as any other.
        """
        source = torch.Generator().manual_seed(seed)
        modern = self.config.norm == "rmsnorm"
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if parameter.dim() < 2:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                elif name == "head.weight" and modern:
                    parameter.zero_()
                elif "embedding" in name or name == "head.weight":
                    parameter.normal_(0, 0.02, generator=source)
                elif name.endswith(("out.weight", "down.weight")):
                    scale = 0.0 if modern else 0.02 / math.sqrt(2 * self.config.layers)
                    parameter.normal_(0, 1, generator=source).mul_(scale)
                else:
                    scale = 0.5 / math.sqrt(parameter.shape[1]) if modern else 0.02
                    parameter.normal_(0, scale, generator=source)

    def use_attention(self, kernel: AttentionKernel) -> None:
        """Compute attention without a cache by this kernel from now on."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.kernel = kernel

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self) -> int:
        """Training FLOPs a token by the usual count, 6 N + 12 layers x width x context (Chowdhery et al. 2022,
        appendix B), where N leaves out embeddings that are only looked up and the causal half is not subtracted."""
        n = self.num_parameters()
        if self.config.positions == "learned":
            n -= self.position_embedding.weight.numel()
        if not self.config.tie_embeddings:
            n -= self.embedding.weight.numel()
        attention = 12 * self.config.layers * self.config.heads * self.config.head_width * self.config.context
        return 6 * n + attention
