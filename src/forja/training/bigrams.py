"""First weights from how often one token follows another, for a decoder whose blocks begin as the identity.

Such a model is an embedding, a norm and an output layer: a log-bilinear model (Mnih and Hinton 2007) of bigrams. All
pairs of the training split are known from one pass over it, and as the model sees one token at a time, a gradient over
every pair takes no more softmaxes than there are tokens in the vocabulary: all that the first steps of training would
learn costs as much as a few of them. Meister et al. 2023 ("A Natural Bias for Language Generation Models") begin with
the frequencies of single tokens for the same reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from forja.models.transformer import Transformer, TransformerConfig
from forja.tokens.pairs import Pairs

MOST_TOKENS = 2**25
"""Tokens whose pairs are worth counting."""
CONTEXTS = 2048
"""First tokens of pairs that an update looks at; of a larger vocabulary the frequent ones always, others in turn."""
UPDATES = 80
EMBEDDING_RATE, OUTPUT_RATE = 0.1, 0.013
WARM_UP = 10
SLICE = 1024
"""Contexts whose logits are in memory at once."""


def begins_as_bigram_model(config: TransformerConfig) -> bool:
    """Whether a model of this shape has, before its first step, blocks that add nothing and an output of its own."""
    identity = config.norm == "rmsnorm" and config.norm_place == "pre" and config.positions == "rope"
    own = not config.tie_embeddings and config.logit_softcap is None
    return identity and own and config.architecture == "decoder"


def fit_flops(config: TransformerConfig) -> int:
    """What `fit_bigrams` computes, as `Transformer.flops_per_token` counts."""
    return 6 * UPDATES * min(CONTEXTS, config.vocab_size) * config.vocab_size * config.width


def fit_bigrams(model: Transformer, pairs: Pairs, *, seed: int, bfloat16: bool = False) -> float:
    """Fit embedding and output layer in place; returns the nats a pair that the last update saw.

    Adam over `UPDATES` gradients (Kingma and Ba 2015). The embedding is scaled to a root mean square of 1, which the
    norm undoes: what blocks add later then weighs less against it. Tokens that were never met get the mean embedding,
    after which is likely what is frequent on the whole. Raises ValueError for a model that does not begin as a
    bigram model, or no bigrams.
    """
    if not begins_as_bigram_model(model.config) or not len(pairs.times):
        raise ValueError("there is nothing to fit: no bigrams, or a model that begins as something else")
    embedding, output = model.embedding.weight, model.unembedding
    contexts = _Contexts(pairs, model.config.vocab_size, embedding.device, seed)
    groups = [{"params": [embedding], "lr": EMBEDDING_RATE}, {"params": [output], "lr": OUTPUT_RATE}]
    adam = torch.optim.Adam(groups, betas=(0.8, 0.95), eps=1e-12, fused=True)
    peaks = (EMBEDDING_RATE, OUTPUT_RATE)
    nats = 0.0
    for update in range(UPDATES):
        factor = min(1.0, (update + 1) / WARM_UP) * (1 - update / UPDATES)
        for group, peak in zip(adam.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        chosen, weights = contexts.draw()
        rows = F.rms_norm(embedding[chosen], (embedding.shape[1],), eps=model.config.norm_eps)
        nats, rows_gradient, output.grad = _gradients(
            rows.detach(), output.detach(), contexts, chosen, weights, bfloat16
        )
        embedding.grad = None
        rows.backward(rows_gradient)  # type: ignore[no-untyped-call]
        adam.step()
    embedding.grad = output.grad = None
    with torch.no_grad():
        embedding[~contexts.met] = contexts.frequency @ embedding
        embedding.div_(embedding.square().mean().sqrt())
    return nats


class _Contexts:
    """The first tokens of pairs: how frequent each is, (vocabulary,), and what follows it."""

    def __init__(self, pairs: Pairs, vocabulary: int, device: torch.device, seed: int) -> None:
        times = np.bincount(pairs.left, weights=pairs.times, minlength=vocabulary)
        self.frequency = torch.from_numpy((times / times.sum()).astype(np.float32)).to(device)
        self.starts = torch.from_numpy(np.searchsorted(pairs.left, np.arange(vocabulary + 1))).to(device)
        self.second = torch.from_numpy(pairs.right).to(device)
        self.share = torch.from_numpy((pairs.times / times[pairs.left]).astype(np.float32)).to(device)
        self.met = torch.zeros(vocabulary, dtype=torch.bool, device=device)
        self.chance = _chances(self.frequency.cpu(), CONTEXTS)
        self.source = torch.Generator().manual_seed(seed)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Some tokens, (n,), and their weights in an unbiased sum over all."""
        drawn = torch.rand(len(self.chance), generator=self.source) < self.chance
        chosen = drawn.nonzero().flatten()
        weights = self.frequency[chosen] / self.chance[chosen].to(self.frequency.device)
        chosen = chosen.to(self.frequency.device)
        self.met[chosen] = True
        return chosen, weights

    def following(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What follows each of these: its place in `chosen`, the second token and its share, (pairs,) each."""
        starts = self.starts[chosen]
        lengths = self.starts[chosen + 1] - starts
        places = torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), lengths)
        within = torch.arange(len(places), device=chosen.device) - (lengths.cumsum(0) - lengths)[places]
        pairs = starts[places] + within
        return places, self.second[pairs], self.share[pairs]


def _chances(frequency: Tensor, wanted: int) -> Tensor:
    """How likely each token is drawn: in proportion to its frequency and at most 1, about `wanted` in all."""
    met = frequency > 0
    if int(met.sum()) <= wanted:
        return met.float()
    scale = float(wanted)
    for _ in range(50):
        scale *= wanted / float((frequency * scale).clamp(max=1.0).sum())
    return (frequency * scale).clamp(max=1.0)


def _gradients(
    rows: Tensor, output: Tensor, contexts: _Contexts, chosen: Tensor, weights: Tensor, bfloat16: bool
) -> tuple[float, Tensor, Tensor]:
    """Nats a pair, and the gradients of the normalised embeddings `rows` (n, width) and of `output`."""
    working: Any = torch.bfloat16 if bfloat16 else torch.float32
    rows, matrix = rows.to(working), output.to(working)
    rows_gradient = torch.empty(rows.shape, dtype=output.dtype, device=rows.device)
    output_gradient = torch.zeros_like(output)
    nats = torch.zeros((), dtype=torch.float64, device=rows.device)
    for start in range(0, len(chosen), SLICE):
        part = slice(start, start + SLICE)
        places, second, share = contexts.following(chosen[part])
        likely = torch.softmax((rows[part] @ matrix.t()).float(), dim=1)  # (slice, vocabulary)
        flat = places * likely.shape[1] + second
        found = likely.view(-1)[flat]
        nats -= (weights[part][places] * share * found.clamp(min=1e-30).log()).sum()
        likely.view(-1)[flat] = found - share
        likely.mul_(weights[part, None])
        error = (likely * likely.shape[1]).to(working)  # larger by the vocabulary: bf16 has few digits, Adam no scale
        rows_gradient[part] = error @ matrix
        output_gradient += error.t() @ rows[part]
    return float(nats), rows_gradient, output_gradient
