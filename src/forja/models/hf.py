"""Model type `forja` for the Auto classes: any mixture of the transformer's parts behind Hugging Face's
interface, for `Trainer`, `generate` and PEFT. Importing this module registers it."""

from __future__ import annotations

from dataclasses import asdict, replace
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
        super().__init__(**{"tie_word_embeddings": self.transformer.get("tie_embeddings", True), **settings})
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
    _tied_weights_keys = None  # a tied output layer is the embedding itself, and no second parameter

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

    def set_input_embeddings(self, value: torch.nn.Embedding) -> None:
        self.transformer.embedding = value

    def get_output_embeddings(self) -> torch.nn.Module | None:
        """The output layer; None where the input embedding does its work."""
        return None if self.transformer.config.tie_embeddings else self.transformer.head

    def set_output_embeddings(self, new_embeddings: torch.nn.Linear) -> None:
        self.transformer.head = new_embeddings

    def resize_token_embeddings(self, *args: Any, **settings: Any) -> torch.nn.Embedding:
        embedding: torch.nn.Embedding = super().resize_token_embeddings(*args, **settings)
        self.transformer.config = replace(self.transformer.config, vocab_size=embedding.num_embeddings)
        self.config.transformer = asdict(self.transformer.config)
        return embedding

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """input_ids, labels: (batch, time); a label of -100 counts for nothing.

        The loss is the mean over labels, or their sum divided by `num_items_in_batch`, with which `Trainer` makes one
        mean of several micro-batches. Padding goes on the right, where no token sees it; ValueError for padding on
        the left.
        """
        if attention_mask is not None and not bool(attention_mask[:, 0].all()):
            raise ValueError("this model takes padding on the right only: set padding_side='right' in the tokenizer")
        hidden = self.transformer(input_ids)  # (batch, time, width)
        logits = self.transformer.logits(hidden)  # (batch, time, vocab_size)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits, labels, vocab_size=logits.shape[-1], num_items_in_batch=num_items_in_batch
            )
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """What one step of `generate` reads; ValueError for padded prompts, after which no token can be placed."""
        if attention_mask is not None and not bool(attention_mask.all()):
            raise ValueError("this model generates from prompts of one length: give those of other lengths apart")
        return {"input_ids": input_ids[:, -self.transformer.config.context :]}


AutoConfig.register("forja", ForjaConfig)
AutoModelForCausalLM.register(ForjaConfig, ForjaForCausalLM)
