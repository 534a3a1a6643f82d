"""The transformer, top to bottom: decoder-only, encoder-only, or an encoder and a decoder. It returns hidden
states; losses and logits are made from them by whoever needs them, so that the largest tensor of all is
never made by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from forja.models.blocked_attention import blocked_attention

Activation = Literal["relu", "gelu", "gelu_tanh", "swiglu", "relu2"]
Architecture = Literal["decoder", "encoder", "encoder-decoder"]
AttentionKernel = Literal["fused", "blocked"]
"""torch's own, or `blocked_attention`: the same mathematics, and which is quicker depends on the processor."""
Recompute = Literal["none", "selective", "full"]
"""What of a block the backward pass computes again rather than finds kept: nothing, all but the results of
matrix products (Korthikanti et al. 2022, section 5), or everything (Chen et al. 2016)."""
Rotation = tuple[Tensor, Tensor]
"""Cosines and sines of rotary positions, (time, head_width / 2) each."""


@dataclass(frozen=True)
class TransformerConfig:
    """A transformer's shape. `vocab_size` is the padded one; `context` is in tokens.

    layers: blocks of the only stack, or of the decoder; encoder_layers: of an encoder-decoder's encoder.
    """

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
    positions: Literal["learned", "rope", "sinusoidal"]
    rope_theta: float
    qk_norm: bool
    bias: bool
    tie_embeddings: bool
    norm_eps: float
    logit_softcap: float | None = None
    norm_place: Literal["pre", "post"] = "pre"
    architecture: Architecture = "decoder"
    encoder_layers: int = 0


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
    """Self-attention (Vaswani et al. 2017, section 3.2), with grouped queries (Ainslie et al. 2023).

    causal: a token sees itself and those before it; else all that `mask` (batch, 1, 1, time) leaves.
    """

    def __init__(self, config: TransformerConfig, layer: int, *, causal: bool) -> None:
        super().__init__()
        self.config, self.layer, self.causal = config, layer, causal
        self.kernel: AttentionKernel = "fused"
        self.sizes = [config.heads * config.head_width] + [config.kv_heads * config.head_width] * 2
        self.qkv = nn.Linear(config.width, sum(self.sizes), bias=config.bias)
        self.out = nn.Linear(self.sizes[0], config.width, bias=config.bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_width, eps=config.norm_eps)
            self.k_norm = RMSNorm(config.head_width, eps=config.norm_eps)

    def forward(self, x: Tensor, rotation: Rotation | None, cache: KVCache | None, mask: Tensor | None) -> Tensor:
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
        if cache is not None:
            past = cache.length
            k, v = cache.extend(self.layer, k, v)
            if past > 0 and time > 1:
                mask = torch.ones(time, past + time, dtype=torch.bool, device=x.device).tril(past)
        if self.causal and self.kernel == "blocked" and cache is None:
            y = blocked_attention(q, k, v)
        else:
            causal = self.causal and mask is None and time > 1
            grouped = c.kv_heads != c.heads
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)
        y = y.transpose(1, 2).reshape(batch, time, self.sizes[0])  # (batch, time, heads * head_width)
        return self.out(y)  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Attention of the decoder to what the encoder made (Vaswani et al. 2017, section 3.2.3); without positions."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = config.heads * config.head_width
        self.q = nn.Linear(config.width, self.inner, bias=config.bias)
        self.kv = nn.Linear(config.width, 2 * config.kv_heads * config.head_width, bias=config.bias)
        self.out = nn.Linear(self.inner, config.width, bias=config.bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_width, eps=config.norm_eps)
            self.k_norm = RMSNorm(config.head_width, eps=config.norm_eps)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """x: (batch, time, width); memory: (batch, source_time, width); mask: (batch, 1, 1, source_time) or None."""
        batch, time, _ = x.shape
        c = self.config
        q = self.q(x).view(batch, time, c.heads, c.head_width)
        k, v = self.kv(memory).view(batch, -1, 2 * c.kv_heads, c.head_width).chunk(2, dim=2)
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (batch, heads, time, head_width) each
        grouped = c.kv_heads != c.heads
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask, enable_gqa=grouped)
        return self.out(y.transpose(1, 2).reshape(batch, time, self.inner))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """ReLU (Vaswani et al. 2017, section 3.3), GELU (Hendrycks and Gimpel 2016), exact or by tanh, ReLU² (So et al.
    2021), or SwiGLU (Shazeer 2020), its gate and up projections fused."""

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
        elif self.activation == "relu":
            h = F.relu(h)
        elif self.activation == "relu2":
            h = F.relu(h).square()
        else:
            h = F.gelu(h, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        return self.down(h)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, attention to the encoder where there is one, then feed-forward, each added to the stream.

    Each sublayer sees the normalised stream (pre, Xiong et al. 2020), or the sum is normalised (post, Vaswani et
    al. 2017, section 3.1).
    """

    def __init__(self, config: TransformerConfig, layer: int, *, causal: bool, cross: bool = False) -> None:
        super().__init__()
        self.post = config.norm_place == "post"
        self.cross = cross
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer, causal=causal)
        if cross:
            self.cross_norm = make_norm(config)
            self.cross_attention = CrossAttention(config)
        self.ffn_norm = make_norm(config)
        self.ffn = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None,
        cache: KVCache | None = None,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """mask: of `memory` where there is one, else of x."""
        own = None if self.cross else mask
        x = self._added(x, self.attention_norm, lambda y: self.attention(y, rotation, cache, own))
        if self.cross:
            x = self._added(x, self.cross_norm, lambda y: self.cross_attention(y, memory, mask))
        return self._added(x, self.ffn_norm, self.ffn)

    def _added(self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return norm(x + sublayer(x)) if self.post else x + sublayer(norm(x))


def make_norm(config: TransformerConfig) -> nn.Module:
    if config.norm == "rmsnorm":
        return RMSNorm(config.width, eps=config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)


class Transformer(nn.Module):
    """tokens (batch, time) int64 -> hidden states after the last norm (batch, time, width).

    A decoder's cache holds the tokens before these. Of an encoder-decoder, `source` (batch, source_time) is what its
    encoder reads, or `memory` what `encode` made of it. `mask` (batch, time or source_time) is false where the
    encoder's text is padding. Raises ValueError past the context or the cache's room.
    """

    cos: Tensor
    sin: Tensor
    waves: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute: Recompute = "none"
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context, config.width)
        elif config.positions == "sinusoidal":
            self.register_buffer("waves", torch.empty(config.context, config.width), persistent=False)
        else:
            self.register_buffer("cos", torch.empty(config.context, config.head_width // 2), persistent=False)
            self.register_buffer("sin", torch.empty(config.context, config.head_width // 2), persistent=False)
        self.fill_tables()
        both, alone = config.architecture == "encoder-decoder", config.architecture == "encoder"
        if both:
            self.encoder_blocks = nn.ModuleList(Block(config, i, causal=False) for i in range(config.encoder_layers))
            self.encoder_norm = make_norm(config)
        self.blocks = nn.ModuleList(Block(config, i, causal=not alone, cross=both) for i in range(config.layers))
        self.final_norm = make_norm(config)
        if not config.tie_embeddings:
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)

    def fill_tables(self) -> None:
        """Compute the positions' tables; they are in no checkpoint.

        Rotary: (context, head_width / 2) cosines and sines. Sinusoidal (Vaswani et al. 2017, section 3.5): (context,
        width), sines in the even columns.
        """
        c = self.config
        time = torch.arange(c.context).float()
        if c.positions == "rope":
            angle = torch.outer(time, c.rope_theta ** (-torch.arange(0, c.head_width, 2).float() / c.head_width))
            self.cos.copy_(angle.cos())
            self.sin.copy_(angle.sin())
        elif c.positions == "sinusoidal":
            angle = torch.outer(time, 10_000.0 ** (-torch.arange(0, c.width, 2).float() / c.width))
            self.waves.copy_(torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, : c.width])

    @property
    def unembedding(self) -> Tensor:
        """The output matrix, (vocab_size, width)."""
        return self.embedding.weight if self.config.tie_embeddings else self.head.weight

    def forward(
        self,
        tokens: Tensor,
        *,
        source: Tensor | None = None,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        if source is not None:
            memory = self.encode(source, mask=mask)
        if (memory is not None) != (self.config.architecture == "encoder-decoder"):
            raise ValueError(f"a {self.config.architecture} model takes {'no' if memory is not None else 'a'} source")
        start = 0 if cache is None else cache.length
        x, rotation = self._embed(tokens, start, self.config.context if cache is None else cache.keys.shape[3])
        seen = None if mask is None else mask.bool()[:, None, None, :]
        for block in self.blocks:
            x = self._run(block, x, rotation, cache, memory, seen)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.final_norm(x)  # type: ignore[no-any-return]

    def encode(self, source: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """What an encoder-decoder's encoder makes of `source`: (batch, source_time) -> (batch, source_time, width)."""
        x, rotation = self._embed(source, 0, self.config.context)
        seen = None if mask is None else mask.bool()[:, None, None, :]
        for block in self.encoder_blocks:
            x = self._run(block, x, rotation, None, None, seen)
        return self.encoder_norm(x)  # type: ignore[no-any-return]

    def _embed(self, tokens: Tensor, start: int, room: int) -> tuple[Tensor, Rotation | None]:
        """Embeddings at positions `start` on, (batch, time, width), and the rotation of queries and keys there."""
        end = start + tokens.shape[1]
        if end > room:
            raise ValueError(f"{end} tokens do not fit: there is room for {room}")
        x = self.embedding(tokens)
        if self.config.positions == "learned":
            return x + self.position_embedding.weight[start:end], None
        if self.config.positions == "sinusoidal":  # scaled as in Vaswani et al. 2017, section 3.4
            return x * math.sqrt(self.config.width) + self.waves[start:end], None
        return x, (self.cos[start:end], self.sin[start:end])

    def _run(self, block: nn.Module, x: Tensor, *rest: Any) -> Tensor:
        if self.recompute == "none" or not torch.is_grad_enabled():
            return block(x, *rest)  # type: ignore[no-any-return]
        kept: dict[str, Any] = {"context_fn": _keep_products} if self.recompute == "selective" else {}
        # Nothing in a block draws random numbers.
        again: Tensor = checkpoint(block, x, *rest, use_reentrant=False, preserve_rng_state=False, **kept)
        return again

    def room(self, tokens: int) -> KVCache:
        """An empty cache for this many tokens, where the model is: a long context costs only what is used of it."""
        weight = self.unembedding
        return KVCache(self.config, capacity=tokens, dtype=weight.dtype, device=weight.device)

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
        zero, so that every token starts as likely as any other. With norms behind the sublayers, matrices
        N(0, 2 / (fan-in + fan-out)) (Glorot and Bengio 2010), and embeddings that sinusoidal positions will
        scale up N(0, 1 / width), as in the 2017 transformer's code.
        """
        source = torch.Generator().manual_seed(seed)
        c = self.config
        modern, post = c.norm == "rmsnorm", c.norm_place == "post"
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if parameter.dim() < 2:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                elif name == "head.weight" and modern:
                    parameter.zero_()
                elif "embedding" in name or name == "head.weight":
                    std = c.width**-0.5 if c.positions == "sinusoidal" else 0.02
                    parameter.normal_(0, std, generator=source)
                elif post:
                    parameter.normal_(0, (2 / sum(parameter.shape)) ** 0.5, generator=source)
                elif name.endswith(("out.weight", "down.weight")):
                    scale = 0.0 if modern else 0.02 / math.sqrt(2 * (c.layers + c.encoder_layers))
                    parameter.normal_(0, 1, generator=source).mul_(scale)
                else:
                    scale = 0.5 / math.sqrt(parameter.shape[1]) if modern else 0.02
                    parameter.normal_(0, scale, generator=source)

    def use_recompute(self, recompute: Recompute) -> None:
        """Keep this much less for the backward pass from now on: memory for time."""
        self.recompute = recompute

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


PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}


def _keep_products() -> Any:
    """Contexts of a checkpoint that keeps the results of linear layers and of fused attention."""

    def policy(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        return CheckpointPolicy.MUST_SAVE if operation in PRODUCTS else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)  # type: ignore[no-untyped-call]
