"""The sections of a run that starts from a trained model: its examples, and what they teach it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forja.recipe.section import Auto, Section
from forja.recipe.training import DivergenceSection, Schedule

FinetuneKind = Literal["classification", "chat", "continue", "preference"]


class ExamplesSection(Section):
    """Examples: read, freed of duplicates, and split so that none of a pair lies on either side."""

    files: list[str] = Field(
        default_factory=list,
        description="CSV, TSV, JSON Lines, JSON or Parquet files, .gz too; `--data FILE` on the command line. Layouts: "
        "text and label; messages, ShareGPT, Alpaca, prompt and completion; prompt, chosen and rejected; text.",
    )
    test_files: list[str] = Field(
        default_factory=list,
        description="Files whose rows are the test split; training rows like any of them are left out. Without any, "
        "a part of `files` is.",
    )
    text_field: str | None = Field(None, description="The column that holds the text, where its name does not tell.")
    label_field: str | None = Field(None, description="The column that holds the label, where its name does not tell.")
    valid_fraction: float = Field(0.1, gt=0, lt=0.5, description="Examples held out for early stopping.")
    test_fraction: float = Field(0.1, gt=0, lt=0.5, description="Examples held out for the test, without test_files.")
    limit: int | None = Field(None, ge=1, description="At most this many examples, chosen by their ids.")


class LoraSection(Section):
    """Low-rank adaptation (Hu et al. 2022): small matrices beside frozen ones, merged into them in the end."""

    rank: int = Field(8, ge=1, le=1024, description="Rank of what is added to each matrix.")
    alpha: int = Field(16, ge=1, description="Added at alpha / rank times its product.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of what the added matrices read.")
    quantize: bool = Field(
        False, description="QLoRA (Dettmers et al. 2023): the frozen matrices in 4 bits. Needs a GPU (extra: quantize)."
    )


class TuningOptimizer(Section):
    """AdamW, as fine-tuning uses it."""

    rate: float = Field(2e-4, gt=0, description="Peak learning rate of the last layers, per step.")
    head_rate: float | None = Field(None, gt=0, description="Peak rate of a new classification layer; `rate` if none.")
    embedding_rate: float | None = Field(
        None, gt=0, description="Peak rate of the embeddings, whatever layer_decay says; as it says if none."
    )
    ngram_rate: float = Field(0.03, gt=0, description="Peak rate of the n-gram layer, per step.")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="Each layer further down learns at this times the rate above it (ULMFiT, 2018)."
    )
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay, on matrices only.")
    betas: tuple[float, float] = Field((0.9, 0.98), description="AdamW's two decay rates.")
    epsilon: float = Field(1e-8, gt=0, description="AdamW's epsilon.")
    clip: float = Field(1.0, ge=0, description="Largest global gradient norm; 0 does not clip.")


class FinetuneSection(Section):
    """What the examples teach the base, by the one loop."""

    kind: FinetuneKind = Field(
        "classification",
        description="`classification` of texts; `chat`: answers in conversations, learned from the assistant's turns "
        "alone; `continue`: more text, as in pretraining; `preference`: the chosen answer over the rejected (DPO).",
    )
    epochs: float = Field(3.0, gt=0, description="Passes over the training examples, at most.")
    batch: int = Field(16, ge=1, description="Examples a step, over all processes.")
    micro_batch: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto", description="Examples at once in memory; `auto`: the batch, halved where memory runs out."
    )
    max_tokens: int | None = Field(
        None, ge=8, description="Tokens of an example that are read; as many as the base's context by default."
    )
    optimizer: TuningOptimizer = Field(default_factory=TuningOptimizer)
    schedule: Schedule = Field(default_factory=lambda: Schedule(kind="cosine", warmup=0.1, floor=0.0))
    divergence: DivergenceSection = Field(default_factory=lambda: DivergenceSection(spike=0.0))
    lora: LoraSection | None = Field(None, description="Train low-rank additions alone; `lora: {}` for the defaults.")
    freeze_layers: int = Field(
        0, ge=0, description="The embedding and this many of the lowest layers stay as they are; 0 freezes nothing."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="`balanced` weighs each class by the inverse of its frequency."
    )
    fair_by: str | None = Field(
        None,
        description="A column of groups: examples are weighed so that label and group are independent (reweighing, "
        "Kamiran and Calders 2012).",
    )
    ngrams: int = Field(
        0,
        ge=0,
        le=5,
        description="Classification by a Forja model: a linear layer over n-grams of 1 to so many tokens beside the "
        "transformer, which learns from few examples what words tell. 0: none, and the classifier is of a standard "
        "class that loads without Forja.",
    )
    read_as: Literal["auto", "is", "plain"] = Field(
        "auto",
        description="Classification by a Forja model: `plain` reads lower case, with no space beside signs, so that "
        "texts from elsewhere read alike; `is` reads them as they are. `auto`: plain where a quarter of the training "
        "texts have no capital letter, of which case tells no more than where they come from.",
    )
    token_dropout: float = Field(
        0.0, ge=0, lt=1, description="Classification: the share of a text's tokens left out, others at each reading."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Of classes (Szegedy et al. 2016).")
    dpo_beta: float = Field(0.1, gt=0, description="How far preferences may lead from the base (Rafailov et al. 2023).")
    from_scratch: bool = Field(
        False, description="Train the base's shape from random weights instead: what transfer is compared with."
    )
    learning_curve: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=list,
        description="Shares of the training examples, such as [0.05, 0.25, 1]: the classifier is trained on each, from "
        "the base and from random weights, for a curve of what the base is worth. Takes as many trainings.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="As in `training`.")
    gradient_checkpointing: bool = Field(False, description="Compute a layer's inner values again rather than keep.")
    threads: Annotated[int, Field(ge=1)] | Auto = Field("auto", description="CPU threads; one a physical core.")
    strategy: Literal["auto", "ddp"] = Field("auto", description="With several processes, a copy of the model each.")
    valid_every: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto", description="Steps between validations; `auto`: four an epoch."
    )
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints, besides those of the best.")
    patience: int = Field(8, ge=1, description="Validations without improvement before stopping early.")
    min_delta: float = Field(0.0, ge=0, description="Nats by which a validation must improve to count.")
    remote_code: str | None = Field(
        None, description="The base's name once more, to let code in its folder run. Without it such a base is refused."
    )

    @model_validator(mode="after")
    def _kinds_agree(self) -> FinetuneSection:
        if self.kind != "classification":
            for key in ("fair_by", "learning_curve"):
                if getattr(self, key):
                    raise ValueError(f"`{key}` is for classification, and the kind is {self.kind}")
        if self.lora and self.freeze_layers:
            raise ValueError("`lora` freezes all of the base already: leave freeze_layers out")
        if self.from_scratch and (self.lora or self.freeze_layers):
            raise ValueError("from_scratch trains all of the model: leave lora and freeze_layers out")
        return self
