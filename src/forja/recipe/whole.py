"""The whole recipe, and the sections of the stages that need few keys."""

from __future__ import annotations

from pydantic import Field, model_validator

from forja.errors import ForjaError
from forja.recipe.corpus import CorpusSection
from forja.recipe.finetuning import ExamplesSection, FinetuneSection
from forja.recipe.section import Section
from forja.recipe.training import ModelSection, TrainingSection, fitting_objective

RECIPE_FORMAT = 1
"""The newest recipe format this version of Forja reads."""


class TokenizerSection(Section):
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019)."""

    vocabulary: int = Field(
        50_304,
        ge=512,
        le=1_000_000,
        description="Entries in all, the 164 control ids and sentinels included.",
    )
    sample_bytes: int = Field(
        200_000_000,
        ge=10_000,
        description="Text that training looks at, chosen by document id; more is slower.",
    )
    min_frequency: int = Field(2, ge=1, description="A pair seen less often is not merged.")


class TokensSection(Section):
    """Documents encoded and packed into fixed-length sequences."""

    context: int = Field(1024, ge=8, le=1_048_576, description="Tokens a sequence: the model's context.")
    overlap: int = Field(0, ge=0, description="Tokens that a sequence shares with the one before it.")
    valid_fraction: float = Field(0.01, gt=0, lt=0.5, description="Documents held out for validation, by hash of id.")
    test_fraction: float = Field(0.01, gt=0, lt=0.5, description="Documents held out for the test, by hash of id.")
    shard_tokens: int = Field(100_000_000, ge=1024, description="Tokens a shard file.")

    @model_validator(mode="after")
    def _overlap_shorter(self) -> TokensSection:
        if self.overlap >= self.context:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than context ({self.context})")
        return self


class EvaluationSection(Section):
    """Perplexity on held-out documents, beside baselines."""

    max_tokens: int = Field(500_000, ge=1, description="Held-out tokens scored a split, at most.")
    batch: int = Field(16, ge=1, description="Sequences scored at once.")


class ReportSection(Section):
    """The HTML report."""

    prompts: list[str] = Field(
        default_factory=lambda: ["The", "To install the package,", "Returns a new"],
        description="Prompts that the samples continue.",
    )
    temperatures: list[float] = Field(default_factory=lambda: [0.0, 0.7, 1.0], description="Sampled at each.")
    top_k: int = Field(
        50, ge=0, description="Sample among the k likeliest tokens, as `forja generate` does; 0 among all."
    )
    sample_tokens: int = Field(80, ge=1, le=4096, description="Tokens a sample.")


class PlanSection(Section):
    """What `forja plan` counts with; no stage reads it."""

    hardware: str | None = Field(
        None, description="What to plan for where --hardware is not given: a100, h100x8, ..., or `this` machine (null)."
    )
    utilisation: float = Field(
        0.4, gt=0, le=1, description="The part of the hardware's peak FLOP/s that training is expected to reach."
    )
    price: float | None = Field(None, ge=0, description="Of one device for an hour; null: no cost is given.")
    currency: str = Field("USD", description="What the price is in.")


class Recipe(Section):
    """A whole run, from raw text to report."""

    forja: int = Field(RECIPE_FORMAT, ge=1, description="Recipe format version.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="The run's folder under runs/; --name overrides it.",
    )
    description: str = Field("", description="One line for the list of recipes.")
    seed: int = Field(1337, ge=0, lt=2**63, description="Decides every random choice of the run.")
    base: str | None = Field(
        None,
        description="What to fine-tune: a run, a Hugging Face folder, or a hub name. With it the run reads `examples` "
        "and `finetune`, and none of the sections from `corpus` to `training`.",
    )
    examples: ExamplesSection = Field(default_factory=ExamplesSection)
    finetune: FinetuneSection = Field(default_factory=FinetuneSection)
    corpus: CorpusSection = Field(default_factory=CorpusSection)
    tokenizer: TokenizerSection = Field(default_factory=TokenizerSection)
    tokens: TokensSection = Field(default_factory=TokensSection)
    model: ModelSection = Field(default_factory=ModelSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    report: ReportSection = Field(default_factory=ReportSection)
    plan: PlanSection = Field(default_factory=PlanSection)

    @model_validator(mode="after")
    def _objective_fits(self) -> Recipe:
        try:
            fitting_objective(self.training.objective, self.model.architecture)
        except ForjaError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _first_weights_fit(self) -> Recipe:
        if self.training.first_weights == "bigrams" and not self.model.begins_as_bigram_model:
            raise ValueError(
                "training.first_weights: bigrams is for a decoder of the modern preset (RMSNorm before its sublayers, "
                "rotary positions) with `model.tie_embeddings: false`: change model, or leave first_weights out"
            )
        return self
