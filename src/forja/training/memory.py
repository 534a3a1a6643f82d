"""How much memory a training step takes, by part, from the model's shape alone: nothing is run here.

Each formula counts the tensors that the code keeps, so whoever changes what a block, the loss or an optimizer
keeps changes it here too; tests/training/test_memory.py holds these counts against the tensors themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal, NamedTuple

import torch

from forja.models.blocked_attention import kept_probabilities
from forja.models.transformer import AttentionKernel, Recompute, Transformer, TransformerConfig
from forja.training.distributed import BUCKET
from forja.training.objectives import CHUNKS_A_PRODUCT, chunk_rows
from forja.training.optimizers import hidden_matrices
from forja.training.precision import Precision

Sharding = Literal["ddp", "zero1", "zero2", "zero3", "fsdp"]
"""What is split over the processes (Rajbhandari et al. 2020, section 5): nothing, the optimizer state, the gradients
too, the weights too; `fsdp` is `zero3` by another library."""
OptimizerKind = Literal["adamw", "muon"]
Device = Literal["cpu", "cuda"]
FLOAT = 4
"""Bytes of a float32: of weights, gradients, optimizer state and the residual stream, in every precision."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the fullest moment of a step; `total` is the sum of all but `host` and `snapshot`.

    copies: weights in half precision, as autocast makes them; logits: the loss's buffers, its gradient of the output
    layer among them; workspace: what lives shorter than that (slopes within a block, gathered weights, an
    optimizer's temporaries); host: what offloading puts into the CPU's memory; snapshot: the copy in CPU memory from
    which a checkpoint is written.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    copies: int
    workspace: int
    host: int = 0
    snapshot: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self) if field.name not in ("host", "snapshot"))

    @property
    def everything(self) -> int:
        """`total` and what is in the CPU's memory."""
        return self.total + self.host + self.snapshot


class Moment(NamedTuple):
    """What comes and goes within a step, bytes, at one moment of it."""

    gradients: int = 0
    activations: int = 0
    logits: int = 0
    copies: int = 0
    workspace: int = 0


class Sizes(NamedTuple):
    """A model's parameters, counted: `output` of the output layer, `blocks` of all blocks, `matrices` of their linear
    layers, `block` of the largest."""

    parameters: int
    output: int
    blocks: int
    matrices: int
    block: int
    hidden: tuple[tuple[int, int, int], ...]
    """Matrices that Muon steps, by shape: (rows, columns, how many)."""


@lru_cache(maxsize=64)
def sizes(config: TransformerConfig) -> Sizes:
    """Counted on a model without memory."""
    with torch.device("meta"):
        model = Transformer(config)
    blocks = [*model.blocks, *getattr(model, "encoder_blocks", ())]
    matrices = [p for block in blocks for p in block.parameters() if p.ndim == 2]
    shapes: dict[tuple[int, int], int] = {}
    muon = hidden_matrices(model)
    for name, parameter in model.named_parameters():
        if name in muon:
            rows, columns = parameter.shape
            shapes[rows, columns] = shapes.get((rows, columns), 0) + 1
    return Sizes(
        parameters=model.num_parameters(),
        output=model.unembedding.numel(),
        blocks=sum(p.numel() for block in blocks for p in block.parameters()),
        matrices=sum(p.numel() for p in matrices),
        block=max(sum(p.numel() for p in block.parameters()) for block in blocks),
        hidden=tuple((rows, columns, count) for (rows, columns), count in shapes.items()),
    )


# --- activations: what the backward pass finds kept ----------------------------------------------------------


def activation_bytes(
    config: TransformerConfig,
    micro_batch: int = 1,
    *,
    precision: Precision = "fp32",
    recompute: Recompute = "none",
    kernel: AttentionKernel = "fused",
    device: Device = "cpu",
) -> int:
    """Bytes kept at the end of the forward pass, of `micro_batch` sequences as long as the context.

    Of an encoder-decoder, both texts are taken to be that long. Weight copies and the loss's buffers are not here.
    """
    c, e = config, _bytes(precision)
    causal: AttentionKernel = "fused" if c.architecture == "encoder" else kernel
    blocks = c.layers * _block(c, e, causal, device, recompute, cross=c.architecture == "encoder-decoder")
    blocks += c.encoder_layers * _block(c, e, "fused", device, recompute, cross=False)
    encoder = 0
    if c.encoder_layers:
        # In half precision each block has its own copy of the encoder's states, and they themselves are let go.
        states = FLOAT * c.width if e == FLOAT or recompute != "none" else 0
        encoder = c.context * (_norm(c, device) + states)
    return micro_batch * (blocks + encoder + _end(c, device))


def _bytes(precision: Precision) -> int:
    """Of a number where autocast computes in this precision."""
    return FLOAT if precision == "fp32" else 2


def _norm(c: TransformerConfig, device: Device) -> int:
    """A token's, of a norm of the stream: its input, and a mean and a deviation, or one of them.

    PyTorch has a fused RMSNorm for GPUs only; elsewhere the input divided by its deviation is kept too.
    """
    if c.norm == "layernorm":
        return FLOAT * (c.width + 2)
    return FLOAT * (c.width + 1) + (FLOAT * c.width if device == "cpu" else 0)


def _end(c: TransformerConfig, device: Device) -> int:
    """A sequence's: what the last norm was given, and what it gave the loss."""
    return c.context * (_norm(c, device) + FLOAT * c.width)


def _block(
    c: TransformerConfig, e: int, kernel: AttentionKernel, device: Device, recompute: Recompute, *, cross: bool
) -> int:
    """A sequence's, of one block; e: bytes of a number in working precision."""
    if recompute != "none":
        return c.context * _held(c, e, kernel, recompute, cross=cross)
    # Each sublayer: the norm before or behind it, and the input of its first product.
    sublayer = c.context * (_norm(c, device) + e * c.width)
    own = sublayer + _attention(c, e, kernel, device)
    other = sublayer + _cross_attention(c, e, device) if cross else 0
    return own + other + sublayer + c.context * e * c.ffn_width * _ffn_tensors(c)


def _ffn_tensors(c: TransformerConfig) -> int:
    """How many as wide as the feed-forward are kept: what its activation needs, and the second product's input.

    ReLU and that product need the same one; GELU its input too, ReLU² the unsquared, SwiGLU gate and up
    projections, and the gate's SiLU.
    """
    return {"relu": 1, "gelu": 2, "gelu_tanh": 2, "relu2": 2, "swiglu": 4}[c.activation]


def _attention(c: TransformerConfig, e: int, kernel: AttentionKernel, device: Device) -> int:
    """A sequence's, of self-attention: from the first product's result to the second one's input."""
    queries, keys, rope = c.heads * c.head_width, c.kv_heads * c.head_width, c.positions == "rope"
    product, normed = e * (queries + 2 * keys), _qk_norm(c, e, device)
    if kernel == "blocked":
        # Contiguous copies of queries, keys and values, repeated to as many heads; in float32 their norms keep the
        # product's result besides, as a view. Then the probabilities, and the result in the order of tokens.
        repeated = 3 * queries if c.kv_heads != c.heads else queries + 2 * keys
        token = normed + e * repeated + e * queries + (product if c.qk_norm and e == FLOAT else 0)
        return c.context * token + e * c.heads * kept_probabilities(c.context)
    moved = e * (queries + keys) if rope or c.qk_norm else 0  # else they are views of the product's result
    # The result, each row's log-sum-exp, and where rotation has changed the layout the result in the order of tokens.
    result = e * queries * (2 if rope else 1) + FLOAT * c.heads
    return c.context * (normed + product + moved + result)


def _cross_attention(c: TransformerConfig, e: int, device: Device) -> int:
    """The same, of attention to the encoder's states, of which each block makes autocast a copy."""
    queries, keys = c.heads * c.head_width, c.kv_heads * c.head_width
    copy = e * c.width if e != FLOAT else 0
    products = e * (queries + 2 * keys)
    moved = 0
    if c.qk_norm:
        # In half precision the norm keeps a float32 copy of the queries, and the queries themselves are let go.
        moved = e * (queries + keys) - (e * queries if e != FLOAT else 0)
    return c.context * (copy + products + _qk_norm(c, e, device) + moved + e * queries + FLOAT * c.heads)


def _qk_norm(c: TransformerConfig, e: int, device: Device) -> int:
    """A token's, of the norms of queries and keys: deviations, in half precision float32 copies, and off GPUs the
    quotients."""
    if not c.qk_norm:
        return 0
    tensors = (1 if e != FLOAT else 0) + (1 if device == "cpu" else 0)
    return FLOAT * (c.heads + c.kv_heads) * (1 + tensors * c.head_width)


def _held(c: TransformerConfig, e: int, kernel: AttentionKernel, recompute: Recompute, *, cross: bool) -> int:
    """A token's, of a block that computes again: its input, and with `selective` what products and fused attention
    gave."""
    token = FLOAT * c.width
    if recompute == "full":
        return token
    queries, keys = c.heads * c.head_width, c.kv_heads * c.head_width
    up = c.ffn_width * (2 if c.activation == "swiglu" else 1)
    attention, fused = e * (queries + 2 * keys + c.width), e * queries + FLOAT * c.heads
    token += attention + (fused if kernel == "fused" else 0) + e * (up + c.width)
    return token + (attention + fused if cross else 0)


def _slopes(c: TransformerConfig, e: int, micro_batch: int) -> int:
    """What a block's backward pass makes beside what it finds kept: the stream's slope, and those of its widest part
    before what they came from is let go."""
    wide = e * c.ffn_width * (2 if c.activation == "swiglu" else 1)
    return micro_batch * c.context * (FLOAT * c.width + wide)


# --- the loss ----------------------------------------------------------------------------------------------------


class LossBytes(NamedTuple):
    """kept: the output layer's gradient and the hidden states', from the loss on; passing: buffers while it is
    computed."""

    kept: int
    passing: int


def loss_bytes(config: TransformerConfig, micro_batch: int = 1, *, precision: Precision = "fp32") -> LossBytes:
    """Of the chunked cross entropy, whose gradients are made in the forward pass."""
    e, output, rows = _bytes(precision), sizes(config).output, micro_batch * config.context
    hidden = rows * config.width
    chunk = min(rows, chunk_rows(config.vocab_size))
    logits = FLOAT * chunk * config.vocab_size
    slopes = e * config.vocab_size * min(rows, CHUNKS_A_PRODUCT * chunk)
    copies = e * (output + hidden) if e != FLOAT else 0
    # A chunk's logits and slope beside the slope before it; or that slope beside a product as large as the layer.
    widest = max((3 if rows > chunk else 2) * logits, logits + e * output)
    return LossBytes(FLOAT * output + e * hidden, slopes + copies + widest)


# --- optimizers --------------------------------------------------------------------------------------------------


def state_bytes(config: TransformerConfig, optimizer: OptimizerKind = "adamw") -> int:
    """Of the optimizer's state: AdamW's two moments, Muon's one of the hidden matrices, all float32."""
    size = sizes(config)
    hidden = sum(rows * columns * count for rows, columns, count in size.hidden) if optimizer == "muon" else 0
    return FLOAT * (2 * size.parameters - hidden)


def _optimizer_workspace(size: Sizes, optimizer: OptimizerKind) -> int:
    """AdamW's fused step makes nothing. Muon takes all matrices of a shape at once, in bf16: their updates, these
    stacked, the iterate and the next one, and two Gram matrices of the shorter side."""
    if optimizer == "adamw":
        return 0
    return max(2 * count * (4 * rows * columns + 2 * min(rows, columns) ** 2) for rows, columns, count in size.hidden)


# --- a whole step ------------------------------------------------------------------------------------------------

DEEPSPEED_BUCKET = FLOAT * BUCKET
"""Gradients that DeepSpeed reduces at once (`reduce_bucket_size`): taken whole, however small the model."""
DEEPSPEED_GATHERED = 1_000_000_000
"""Weights that its stage 3 leaves gathered (`stage3_max_live_parameters`)."""


class Share(NamedTuple):
    """What one device has of weights, gradients and optimizer state, bytes; `standing` is what the strategy itself
    takes."""

    weights: int
    gradients: int
    optimizer: int
    standing: int


def step_memory(
    config: TransformerConfig,
    micro_batch: int = 1,
    *,
    precision: Precision = "fp32",
    recompute: Recompute = "none",
    kernel: AttentionKernel = "fused",
    optimizer: OptimizerKind = "adamw",
    accumulate: bool = False,
    strategy: Sharding = "ddp",
    world: int = 1,
    offload: bool = False,
    snapshot: bool = False,
    device: Device = "cpu",
) -> Memory:
    """One device's memory at the fullest moment of an update.

    accumulate: a step has several micro-batches, so that forward passes find gradients there; offload: optimizer
    state, and weights and gradients where they are split, stand in the CPU's memory; snapshot: a checkpoint is
    being written from a copy there.
    """
    share = share_bytes(config, optimizer, strategy, world)
    whole = FLOAT * sizes(config).parameters
    host = 0
    if offload and strategy != "ddp":
        moved = Share(
            share.weights if strategy in ("zero3", "fsdp") else 0,
            share.gradients if strategy != "zero1" else 0,
            share.optimizer,
            0,
        )
        host = sum(moved) + (whole // world if strategy == "zero1" else 0)
        share = Share(*(all_ - some for all_, some in zip(share, moved, strict=True)))
    moments = _moments(config, micro_batch, precision, recompute, kernel, accumulate, share.gradients, device)
    step = _optimizer_workspace(sizes(config), optimizer)
    if strategy in ("zero1", "zero2"):
        step += whole // world  # DeepSpeed flattens the gradients of its part
    moments.append(Moment(gradients=share.gradients, workspace=step))
    fullest = max(moments, key=sum)
    return Memory(
        weights=share.weights,
        gradients=fullest.gradients,
        optimizer=share.optimizer,
        activations=fullest.activations,
        logits=fullest.logits,
        copies=fullest.copies,
        workspace=fullest.workspace + share.standing,
        host=host,
        snapshot=whole + state_bytes(config, optimizer) if snapshot else 0,
    )


def share_bytes(config: TransformerConfig, optimizer: OptimizerKind, strategy: Sharding, world: int) -> Share:
    """What `strategy` leaves on each of `world` devices (Rajbhandari et al. 2020, section 5)."""
    size, state = sizes(config), state_bytes(config, optimizer)
    whole = FLOAT * size.parameters
    part = whole // world
    if strategy == "ddp":
        return Share(whole, whole, state, whole if world > 1 else 0)  # DDP's buckets are as large as the gradients
    if strategy == "fsdp":
        # Gathered: all outside the blocks, a block and the next; and a block's gradients, there and on their way.
        outside = size.parameters - size.blocks
        return Share(part, part, state // world, FLOAT * (outside + 4 * size.block))
    if strategy == "zero3":
        gathered = FLOAT * min(size.parameters, DEEPSPEED_GATHERED)
        return Share(part, part, state // world, DEEPSPEED_BUCKET + gathered)
    # DeepSpeed steps a copy of its part of the weights.
    return Share(whole, part if strategy == "zero2" else whole, state // world + part, DEEPSPEED_BUCKET)


def _moments(
    c: TransformerConfig,
    micro_batch: int,
    precision: Precision,
    recompute: Recompute,
    kernel: AttentionKernel,
    accumulate: bool,
    gradients: int,
    device: Device,
) -> list[Moment]:
    """The moments of a micro-batch's forward and backward passes that can be the fullest, in order.

    Through the backward pass activations shrink and gradients grow block by block, so its ends are enough.
    """
    size, e, cross = sizes(c), _bytes(precision), c.architecture == "encoder-decoder"
    causal: AttentionKernel = "fused" if c.architecture == "encoder" else kernel
    kept = activation_bytes(c, micro_batch, precision=precision, recompute=recompute, kernel=kernel, device=device)
    block = micro_batch * _block(c, e, causal, device, "none", cross=cross)
    held = micro_batch * _block(c, e, causal, device, recompute, cross=cross)
    loss, slopes = loss_bytes(c, micro_batch, precision=precision), _slopes(c, e, micro_batch)
    # Autocast's copies last through the forward pass; in the backward pass each block that is computed again makes
    # its own.
    copies = e * size.matrices if e != FLOAT else 0
    later = copies if recompute == "none" else e * size.block if e != FLOAT else 0
    before, output = gradients if accumulate else 0, FLOAT * size.output
    # The embedding's gradient is made whole. Where the output layer is the same matrix, the loss's gradient of it
    # waits for that, and their sum is a third one; then it is added to that of earlier micro-batches.
    embedding = output * ((2 if c.tie_embeddings else 0) + (1 if accumulate else 0))
    stream = FLOAT * micro_batch * c.context * c.width
    return [
        Moment(before, kept, loss.kept + loss.passing, copies, 0),
        Moment(before, kept - micro_batch * _end(c, device) - held + block, output, later, slopes),
        Moment(gradients, block, output if c.tie_embeddings and accumulate else 0, min(later, e * size.block), slopes),
        Moment(gradients, 0, 0, 0, embedding + stream),
    ]
