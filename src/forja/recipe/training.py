"""The model and training sections: what is trained, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forja.errors import ForjaError
from forja.recipe.section import Auto, Section

FITTING: dict[str, tuple[str, ...]] = {
    "decoder": ("next-token",),
    "encoder": ("masked",),
    "encoder-decoder": ("span-corruption", "prefix"),
}
"""Objectives by the architecture that they train."""


def fitting_objective(asked: str, architecture: str) -> str:
    """The objective asked for, or with `auto` the first that fits. Raises ForjaError where it does not fit."""
    fitting = FITTING[architecture]
    if asked == "auto":
        return fitting[0]
    if asked not in fitting:
        raise ForjaError(
            f"{asked} does not train {'an' if architecture[0] == 'e' else 'a'} {architecture}.",
            where="training.objective",
            fix=f"Use {' or '.join(fitting)}, or another model.architecture.",
        )
    return asked


class ModelSection(Section):
    """The transformer's shape. A preset sets every key; any key given beside it wins."""

    preset: Literal["gpt2", "modern", "original"] = Field(
        "gpt2",
        description="`gpt2`: LayerNorm, GELU, learned positions, biases. `modern`: RMSNorm, RoPE, QK-norm, SwiGLU "
        "(the mathematics of Qwen3). `original`: LayerNorm after each sublayer, ReLU, sinusoidal positions (Vaswani "
        "et al. 2017).",
    )
    architecture: Literal["decoder", "encoder", "encoder-decoder"] = Field(
        "decoder",
        description="`decoder` predicts the next token (GPT), `encoder` masked ones (BERT), and `encoder-decoder` one "
        "text from another (the 2017 transformer, T5).",
    )
    layers: int = Field(12, ge=1, le=512, description="Transformer blocks; of an encoder-decoder, the decoder's.")
    encoder_layers: int | None = Field(
        None, ge=1, le=512, description="Blocks of an encoder-decoder's encoder; as `layers` by default."
    )
    heads: int = Field(12, ge=1, description="Attention heads.")
    kv_heads: int | None = Field(None, ge=1, description="Key and value heads (grouped-query); as `heads` by default.")
    width: int = Field(768, ge=8, description="Width of the residual stream.")
    head_width: int | None = Field(None, ge=2, description="Width of a head; width / heads by default.")
    ffn_width: int | None = Field(
        None,
        ge=8,
        description="Hidden width of the feed-forward layer; 4 x width (gpt2) or 8/3 x width (modern).",
    )
    activation: Literal["relu", "gelu", "gelu_tanh", "swiglu", "relu2"] | None = Field(
        None,
        description="Feed-forward activation. `gelu` is the exact one, several times quicker on a CPU than "
        "`gelu_tanh`, the approximation that OpenAI's GPT-2 was trained with.",
    )
    norm: Literal["layernorm", "rmsnorm"] | None = Field(None, description="Normalisation.")
    norm_place: Literal["pre", "post"] | None = Field(
        None, description="`pre`: before each sublayer; `post`: after its sum with the stream, as in 2017."
    )
    positions: Literal["learned", "rope", "sinusoidal"] | None = Field(None, description="Positional encoding.")
    rope_theta: float = Field(10_000.0, gt=0, description="Base of the rotary frequencies.")
    qk_norm: bool | None = Field(None, description="Normalise queries and keys a head.")
    bias: bool | None = Field(None, description="Biases in linear layers and layer norms.")
    tie_embeddings: bool = Field(True, description="Use the token embedding as the output layer too.")
    norm_epsilon: float | None = Field(None, gt=0, description="Added under the root in normalisation.")

    @property
    def begins_as_bigram_model(self) -> bool:
        """Whether the blocks add nothing before the first step, and the output layer is the model's own."""
        kept = self.norm in (None, "rmsnorm") and self.norm_place in (None, "pre") and self.positions in (None, "rope")
        return self.preset == "modern" and self.architecture == "decoder" and kept and not self.tie_embeddings


class Schedule(Section):
    """Learning rate over the run: linear warm-up, then decay."""

    kind: Literal["cosine", "wsd", "constant"] = Field(
        "cosine", description="`cosine`; `wsd`: warm-up, stable, linear decay; or `constant`."
    )
    warmup: float = Field(0.05, ge=0, description="Warm-up steps; below 1 a fraction of all steps.")
    decay: float = Field(0.4, ge=0, description="wsd only: steps of the final decay; at most 1 is a fraction.")
    floor: float = Field(0.1, ge=0, le=1, description="Final rate as a fraction of the peak.")


class OptimizerSection(Section):
    """Which optimizer, and its settings."""

    kind: Literal["adamw", "muon"] = Field(
        "adamw", description="`adamw`, or `muon` for hidden matrices with AdamW for all else."
    )
    rate: float = Field(5e-4, gt=0, description="Peak AdamW learning rate, per step.")
    embedding_rate: float | None = Field(
        None, gt=0, description="Peak AdamW learning rate of the token embedding; `rate` where it is not given."
    )
    muon_rate: float = Field(0.02, gt=0, description="Peak Muon learning rate, per step.")
    muon_momentum: float = Field(0.95, ge=0, lt=1, description="Muon's Nesterov momentum.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay, on matrices only.")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's two decay rates.")
    epsilon: float = Field(1e-8, gt=0, description="AdamW's epsilon.")
    clip: float = Field(1.0, ge=0, description="Largest global gradient norm; 0 does not clip.")


class DivergenceSection(Section):
    """What happens when the loss stops being a number or leaps."""

    action: Literal["lower-rate", "skip", "stop"] = Field(
        "lower-rate",
        description="Go back to the last checkpoint, and from there go on with half the rate, or without the batch "
        "that did it; or stop.",
    )
    spike: float = Field(
        2.0, ge=0, description="Nats above the median of the last 50 steps at which a loss counts as a leap; 0: never."
    )
    rollbacks: int = Field(3, ge=0, description="How often a run may go back before it stops for good.")


class TrainingSection(Section):
    """Pretraining by the one loop."""

    objective: Literal["next-token", "masked", "span-corruption", "prefix"] | Auto = Field(
        "auto",
        description="`next-token` for a decoder; `masked` for an encoder (BERT's); `span-corruption` (T5's) or "
        "`prefix`, a text's second part from its first, for an encoder-decoder. `auto`: the first that fits.",
    )
    first_weights: Literal["random", "bigrams"] = Field(
        "random",
        description="What training begins with: weights drawn by `seed`, or, in a `modern` model whose output layer is "
        "its own, the token embedding and that layer fitted to how often one token of the training split follows "
        "another. That saves the first hundred steps or so, and makes every document part of the first weights: to "
        "forget one is to train again from the first step.",
    )
    steps: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto",
        description="Optimizer updates. `auto`: as many as fit in `minutes`, `tokens` and `max_epochs`.",
    )
    minutes: float | None = Field(
        60.0, gt=0, description="With `steps: auto`, about how long training may take; null: however long it takes."
    )
    tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="With `steps: auto`, tokens to train on, repetitions included, at most."
    )
    max_epochs: float = Field(
        3.0,
        gt=0,
        description="With `steps: auto`, stop earlier than this many passes over the training split.",
    )
    batch: Annotated[int, Field(ge=1)] | Auto = Field(
        16, description="Sequences a step, over all processes; `auto` chooses by the tokens that there are to train on."
    )
    micro_batch: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto",
        description="Sequences at once in memory; `auto`: up to 32, as many as measuring memory says will fit.",
    )
    gradient_checkpointing: Literal["none", "selective", "full"] = Field(
        "none",
        description="What is computed again in the backward pass rather than kept: nothing; all but the results of "
        "matrix products; or everything within a block.",
    )
    strategy: Literal["auto", "ddp", "fsdp", "zero1", "zero2", "zero3"] = Field(
        "auto",
        description="With several processes: `ddp` copies the model to each; `fsdp` (FSDP2) and `zero3` split weights, "
        "gradients and optimizer state over them, `zero2` the last two, `zero1` the last (DeepSpeed). `auto`: one "
        "process, or ddp.",
    )
    offload: bool = Field(False, description="fsdp and zero*: keep optimizer state (and split weights) in CPU memory.")
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection)
    schedule: Schedule = Field(default_factory=Schedule)
    divergence: DivergenceSection = Field(default_factory=DivergenceSection)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="`auto` times the model's own products and takes the fastest that is safe."
    )
    compile: bool | Auto = Field(
        "auto", description="torch.compile; `auto` measures whether it pays here and for this many steps."
    )
    threads: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto", description="CPU threads; `auto` takes one a physical core."
    )
    valid_every: int = Field(100, ge=1, description="Steps between validations.")
    valid_sequences: int = Field(64, ge=1, description="Sequences a validation looks at.")
    checkpoint_every: int = Field(100, ge=1, description="Steps between checkpoints.")
    keep_last: int = Field(2, ge=1, description="Checkpoints kept besides the best.")
    keep_every: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Checkpoints of every so many steps are kept too: a ladder from which `data forget --retrain` "
        "trains again, in place of step 0. A multiple of checkpoint_every.",
    )
    patience: int = Field(10, ge=1, description="Validations without improvement before stopping early.")
    min_delta: float = Field(0.0, ge=0, description="Nats by which a validation must improve to count.")

    tracking: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(
        default_factory=list,
        description="Trackers that are told each step's figures too, besides the run's own log.",
    )

    @model_validator(mode="after")
    def _proven_together(self) -> TrainingSection:
        split = self.strategy not in ("auto", "ddp")
        if split and self.optimizer.kind == "muon":
            raise ValueError(
                f"muon needs whole matrices, and `strategy: {self.strategy}` splits them: use `strategy: ddp`, or "
                "`optimizer.kind: adamw`"
            )
        if self.offload and not split:
            raise ValueError(f"`offload` is for fsdp and zero1 to zero3, and the strategy is {self.strategy}")
        return self

    @model_validator(mode="after")
    def _ladder_meets_checkpoints(self) -> TrainingSection:
        if self.keep_every and self.keep_every % self.checkpoint_every:
            raise ValueError(
                f"keep_every ({self.keep_every}) must be a multiple of checkpoint_every ({self.checkpoint_every})"
            )
        return self
