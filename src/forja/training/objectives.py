"""What a step minimises: per-example loss sums and weights, for the tokens that a batch has as targets.

The logits of a whole batch are the largest tensor of language-model training by far. Here they are
made a chunk of rows at a time, and each chunk's gradient is taken at once, so that no float32
(batch x time x vocabulary) tensor ever exists, in either direction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

CHUNK_ELEMENTS = 4 * 1024 * 1024
"""Logits held at once, about: 16 MiB in float32, which a level-3 cache can hold."""
CHUNK_ROWS = 256
"""Rows of logits held at once, at least: for fewer, a large output layer is read more often than it pays."""
CHUNKS_A_PRODUCT = 4
"""Chunks whose slopes wait, in working precision, for one product with the hidden states: the output
layer's gradient is as large as the layer, and is read and written once for all of them."""
DROPPED = 0.25
"""The share of rows without a target above which the others are gathered first; below, gathering costs more."""


class Losses(NamedTuple):
    """What an objective returns: weighted nats and weights, summed over each example, both (examples,) float32."""

    sums: Tensor
    weights: Tensor


class TokenBatch(Protocol):
    """inputs, targets: (batch, time) int64; weights: (batch, time) float, or None for all ones."""

    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...
    @property
    def weights(self) -> Tensor | None: ...


class PairedBatch(TokenBatch, Protocol):
    """As TokenBatch, for the decoder; source: (batch, source_time) int64, what the encoder reads."""

    @property
    def source(self) -> Tensor: ...


Objective = Callable[[nn.Module, Any], Losses]
"""From a model and a batch to losses; the rule makes gradients of them."""


def next_token(model: nn.Module, batch: TokenBatch) -> Losses:
    """Cross entropy of each target, in nats: the next token of a decoder, or an encoder's masked ones.

    `model(inputs)` gives hidden states (batch, time, width); `model.unembedding` is (vocabulary, width).
    """
    return _losses(model, model(batch.inputs), batch)


def sequence_to_sequence(model: nn.Module, batch: PairedBatch) -> Losses:
    """Cross entropy of each target of an encoder-decoder (Vaswani et al. 2017, section 3), in nats.

    `model(inputs, source=source)` gives the decoder's hidden states (batch, time, width).
    """
    return _losses(model, model(batch.inputs, source=batch.source), batch)


class Classification:
    """Cross entropy of each text's class in nats, or half the squared error of its value.

    `model(tokens, mask=mask)` gives logits (batch, classes). A model of several branches learns each branch by itself,
    so that none leaves its part to another. smoothing: the share of a label's mass that all classes
    have alike (Szegedy et al. 2016, section 7).
    """

    def __init__(self, *, regression: bool = False, smoothing: float = 0.0) -> None:
        self.regression, self.smoothing = regression, smoothing

    def __call__(self, model: nn.Module, batch: Any) -> Losses:
        branches = getattr(model, "branches", None) if model.training else None
        told = [model(batch.tokens, mask=batch.mask)] if branches is None else branches(batch.tokens, mask=batch.mask)
        rows = torch.stack([self._rows(logits.float(), batch.labels, model.training) for logits in told]).sum(dim=0)
        return Losses(rows * batch.weights, batch.weights)

    def _rows(self, logits: Tensor, labels: Tensor, training: bool) -> Tensor:
        """(batch,) nats, or halved squares."""
        if self.regression:
            return 0.5 * (logits.squeeze(1) - labels.float()).square()
        smoothing = self.smoothing if training else 0.0
        return nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


class DirectPreference:
    """-log sigmoid of beta times how much more the model has come to like the chosen answer than the rejected one,
    compared with the base (Rafailov et al. 2023, equation 7); an example a pair."""

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def __call__(self, model: nn.Module, batch: Any) -> Losses:
        nats = answer_nats(model, batch)  # (batch, 2)
        gained = batch.reference - nats  # log probability above the base's
        rows = -nn.functional.logsigmoid(self.beta * (gained[:, 0] - gained[:, 1]))
        return Losses(rows, torch.ones_like(rows))


def answer_nats(model: nn.Module, batch: Any) -> Tensor:
    """Nats of the counted tokens of each pair's two answers, (batch, 2)."""
    count, _, time = batch.inputs.shape
    inputs, targets = batch.inputs.view(-1, time), batch.targets.view(-1, time)
    losses = next_token(model, _Plain(inputs, targets, None))
    return losses.sums.view(count, 2)


class _Plain(NamedTuple):
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None


OBJECTIVES: dict[str, Objective] = {
    "next-token": next_token,
    "masked": next_token,
    "span-corruption": sequence_to_sequence,
    "prefix": sequence_to_sequence,
}
"""By the name that a recipe gives, which decides the batches too."""


def _losses(model: Any, hidden: Tensor, batch: TokenBatch) -> Losses:
    softcap = getattr(getattr(model, "config", None), "logit_softcap", None)
    return next_token_loss(hidden, model.unembedding, batch.targets, batch.weights, softcap=softcap)


def next_token_loss(
    hidden: Tensor,
    unembedding: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    softcap: float | None = None,
    chunk: int | None = None,
) -> Losses:
    """Loss sums and weights per example.

    hidden: (batch, time, width); unembedding: (vocabulary, width); targets: (batch, time), where a
    negative one counts for nothing; weights: (batch, time) or None; chunk: rows of logits at once.
    """
    rows = token_losses(hidden, unembedding, targets, weights, softcap=softcap, chunk=chunk)
    counted = (targets >= 0).float() if weights is None else weights.float() * (targets >= 0)
    return Losses(rows.sum(dim=-1), counted.sum(dim=-1))


def token_losses(
    hidden: Tensor,
    unembedding: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    softcap: float | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Weighted nats of every token, (batch, time) float32; differentiable unless gradients are off.

    Where many targets are negative, as of masked tokens, the others' rows alone are multiplied.
    """
    width, vocabulary = hidden.shape[-1], unembedding.shape[0]
    chunk = chunk or chunk_rows(vocabulary)
    working = torch.get_autocast_dtype(hidden.device.type) if _autocasting(hidden) else hidden.dtype
    rows, aims = hidden.reshape(-1, width), targets.reshape(-1)
    flat_weights = None if weights is None else weights.reshape(-1).float()
    kept = _with_target(aims)
    if kept is not None:
        rows, aims = rows[kept], aims[kept]
        flat_weights = None if flat_weights is None else flat_weights[kept]
    # Asked here, as in a function's forward gradients are always off.
    gradients = torch.is_grad_enabled() and (hidden.requires_grad or unembedding.requires_grad)
    flat: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        rows, unembedding, aims, flat_weights, softcap, chunk, working, gradients
    )
    if kept is not None:
        flat = flat.new_zeros(targets.numel()).index_copy(0, kept, flat)
    return flat.view(targets.shape)


def _with_target(targets: Tensor) -> Tensor | None:
    """The rows that have a target, (n,); None where so few have none that they may as well be multiplied too."""
    kept = (targets >= 0).nonzero().squeeze(1)
    return kept if len(kept) < (1 - DROPPED) * len(targets) else None


def chunk_rows(vocabulary: int) -> int:
    """Rows of logits held at once."""
    return max(CHUNK_ROWS, CHUNK_ELEMENTS // vocabulary)


def _autocasting(tensor: Tensor) -> bool:
    return torch.is_autocast_enabled(tensor.device.type)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """(rows, width), (vocabulary, width), (rows,), (rows,) or None -> (rows,) weighted nats.

    The gradients are computed in forward as if every row's upstream gradient were 1. Backward only
    scales them when the upstream gradients are all equal, which they are when a batch's losses are
    summed; otherwise the chunks are computed again, which is as exact and slower.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        unembedding: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        softcap: float | None,
        chunk: int,
        working: torch.dtype,
        gradients: bool,
    ) -> Tensor:
        ctx.settings = (softcap, chunk, working)
        nats, hidden_grad, weight_grad = _all_chunks(
            hidden, unembedding, targets, weights, softcap, chunk, working, gradients=gradients
        )
        if gradients:
            ctx.save_for_backward(hidden, unembedding, targets, weights, hidden_grad, weight_grad)
        return nats

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, unembedding, targets, weights, hidden_grad, weight_grad = ctx.saved_tensors
        softcap, chunk, working = ctx.settings
        first = upstream[0] if upstream.numel() else upstream.new_tensor(1.0)
        if not bool((upstream == first).all()):
            scaled = upstream if weights is None else upstream * weights
            _, hidden_grad, weight_grad = _all_chunks(
                hidden, unembedding, targets, scaled, softcap, chunk, working, gradients=True
            )
        elif float(first) != 1.0:
            hidden_grad, weight_grad = hidden_grad * first, weight_grad * first
        return hidden_grad.to(hidden.dtype), weight_grad.to(unembedding.dtype), None, None, None, None, None, None


def _all_chunks(
    hidden: Tensor,
    unembedding: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    softcap: float | None,
    chunk: int,
    working: torch.dtype,
    *,
    gradients: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Nats (rows,) float32, the gradients for hidden (working precision) and unembedding (float32)."""
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        hidden, matrix = hidden.to(working), unembedding.to(working)
        rows = hidden.shape[0]
        nats = torch.empty(rows, dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if gradients else None
        weight_grad = torch.zeros(matrix.shape, dtype=torch.float32, device=hidden.device) if gradients else None
        group = CHUNKS_A_PRODUCT * chunk
        slopes = hidden.new_empty((min(group, rows), matrix.shape[0])) if gradients else None
        for first in range(0, rows, group):
            last = min(first + group, rows)
            for start in range(first, last, chunk):
                part = slice(start, min(start + chunk, last))
                scale = (targets[part] >= 0).float()
                if weights is not None:
                    scale *= weights[part]
                losses, slope = _chunk_losses(hidden[part], matrix, targets[part].clamp(min=0), softcap, gradients)
                nats[part] = losses * scale
                if slopes is not None and slope is not None:
                    slopes[start - first : part.stop - first] = slope.mul_(scale.unsqueeze(1))
            if hidden_grad is not None and weight_grad is not None and slopes is not None:
                torch.mm(slopes[: last - first], matrix, out=hidden_grad[first:last])
                weight_grad += slopes[: last - first].t() @ hidden[first:last]
        return nats, hidden_grad, weight_grad


def _chunk_losses(
    hidden: Tensor, matrix: Tensor, targets: Tensor, softcap: float | None, gradients: bool
) -> tuple[Tensor, Tensor | None]:
    """Nats (rows,) and their slope in the logits (rows, vocabulary), float32."""
    logits = torch.mm(hidden, matrix.t()).float()  # (rows, vocabulary)
    if softcap is not None:
        logits = logits.div_(softcap).tanh_().mul_(softcap)
    if not gradients:
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none"), None
    index = targets.unsqueeze(1)
    aimed = logits.gather(1, index).squeeze(1)
    # The largest probability is at least 1 / vocabulary, so its logarithm is safe where the target's may not be.
    slope = torch.softmax(logits, dim=1)
    nats = logits.amax(dim=1) - slope.amax(dim=1).log() - aimed
    slope.scatter_add_(1, index, torch.full_like(index, -1, dtype=slope.dtype))
    if softcap is not None:
        slope.mul_(1 - (logits / softcap).square_())
    return nats, slope
