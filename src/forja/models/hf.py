"""Model type `forja` for the Auto classes: any mixture of the transformer's parts behind Hugging Face's
interface. Importing this module registers it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from forja.models.transformer import Transformer, TransformerConfig


class ForjaConfig(PretrainedConfig):  # type: ignore[misc]
    """`transformer`: the fields of TransformerConfig."""

    model_type = "forja"

    def __init__(self, transformer: dict[str, Any] | None = None, **settings: Any) -> None:
        self.transformer = transformer or {}
        super().__init__(**settings)
        for theirs, ours in (
            ("vocab_size", "vocab_size"),
            ("hidden_size", "width"),
            ("num_hidden_layers", "layers"),
            ("num_attention_heads", "heads"),
        ):
            setattr(self, theirs, self.transformer.get(ours))


class ForjaForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Forja's transformer with logits and a loss. It keeps no cache: each new token reads the whole context."""

    config_class = ForjaConfig
    base_model_prefix = "transformer"
    _tied_weights_keys = None

    def __init__(self, config: ForjaConfig) -> None:
        super().__init__(config)
        self.transformer = Transformer(TransformerConfig(**config.transformer))
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Fill what no checkpoint holds: models are made empty and then loaded."""
        if isinstance(module, Transformer):
            module.fill_tables()

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.transformer.embedding

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any
    ) -> CausalLMOutput:
        """input_ids, labels: (batch, time); a label of -100 counts for nothing.

        Padding goes on the right, where no token sees it; ValueError for padding on the left.
        """
        if attention_mask is not None and not bool(attention_mask[:, 0].all()):
            raise ValueError("this model takes padding on the right only: set padding_side='right' in the tokenizer")
        hidden = self.transformer(input_ids)  # (batch, time, width)
        logits = self.transformer.logits(hidden)  # (batch, time, vocab_size)
        loss = None
        if labels is not None:
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **_: Any) -> dict[str, Any]:
        return {"input_ids": input_ids[:, -self.transformer.config.context :]}


AutoConfig.register("forja", ForjaConfig)
AutoModelForCausalLM.register(ForjaConfig, ForjaForCausalLM)
