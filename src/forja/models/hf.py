"""Model type `forja` for the Auto classes: any mixture of the transformer's parts behind Hugging Face's
interface, for `Trainer`, `generate` and PEFT. Importing this module registers it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    CausalLMOutput,
    MaskedLMOutput,
    Seq2SeqLMOutput,
    SequenceClassifierOutput,
)

from forja.models.classifier import pooled, shortened
from forja.models.ngrams import NgramLayer
from forja.models.transformer import Transformer, TransformerConfig


class ForjaConfig(PretrainedConfig):  # type: ignore[misc]
    """`transformer`: the fields of TransformerConfig."""

    model_type = "forja"

    def __init__(self, transformer: dict[str, Any] | None = None, **settings: Any) -> None:
        self.transformer = transformer or {}
        settings.setdefault("is_encoder_decoder", self.transformer.get("architecture") == "encoder-decoder")
        super().__init__(**{"tie_word_embeddings": self.transformer.get("tie_embeddings", True), **settings})
        for theirs, ours in (
            ("vocab_size", "vocab_size"),
            ("hidden_size", "width"),
            ("num_hidden_layers", "layers"),
            ("num_attention_heads", "heads"),
        ):
            setattr(self, theirs, self.transformer.get(ours))


class _ForjaModel(PreTrainedModel):  # type: ignore[misc]
    """Forja's transformer with its weights where Hugging Face looks for them, and logits with a loss."""

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

    def _scored(
        self, hidden: Tensor, labels: Tensor | None, counted: Tensor | int | None
    ) -> tuple[Tensor | None, Tensor]:
        """Loss and logits (batch, time, vocab_size) of what each place predicts: `labels` there, -100 for nothing."""
        logits = self.transformer.logits(hidden)
        if labels is None:
            return None, logits
        told = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), reduction="mean" if counted is None else "sum"
        )
        return told if counted is None else told / counted, logits


class ForjaForCausalLM(_ForjaModel, GenerationMixin):  # type: ignore[misc]
    """A decoder. It keeps no cache: each new token reads the whole context."""

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


class ForjaForMaskedLM(_ForjaModel):
    """An encoder."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> MaskedLMOutput:
        """input_ids, labels: (batch, time); a label of -100 counts for nothing. Padding may be on either side."""
        hidden = self.transformer(input_ids, mask=attention_mask)
        loss, logits = self._scored(hidden, labels, num_items_in_batch)
        return MaskedLMOutput(loss=loss, logits=logits)


class ForjaForSequenceClassification(_ForjaModel):
    """A decoder or an encoder under a classification layer. config.ngrams: {orders, buckets} of an n-gram layer."""

    def __init__(self, config: ForjaConfig) -> None:
        super().__init__(config)
        width, classes = self.transformer.config.width, config.num_labels
        self.score = torch.nn.Linear(width, classes, bias=False)
        asked = getattr(config, "ngrams", None)
        self.ngrams = NgramLayer(asked["orders"], asked["buckets"], classes) if asked else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """input_ids: (batch, time), padded on the right; labels: (batch,), classes or, where there is one, values."""
        causal = self.transformer.config.architecture == "decoder"
        near, near_mask = shortened(input_ids, attention_mask, self.transformer.config.context)
        hidden = self.transformer(near, mask=None if causal else near_mask)
        logits = self.score(pooled(hidden, near_mask, causal=causal))  # (batch, classes)
        if self.ngrams is not None:
            logits = logits + self.ngrams(input_ids, attention_mask)
        loss = None
        if labels is not None and self.config.num_labels == 1:
            loss = torch.nn.functional.mse_loss(logits.squeeze(1).float(), labels.float())
        elif labels is not None:
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class _Encoder:
    """What `generate` asks for the source's states, once."""

    main_input_name = "input_ids"

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.transformer.encode(input_ids, mask=attention_mask))

    __call__ = forward


class ForjaForSeq2SeqLM(_ForjaModel, GenerationMixin):  # type: ignore[misc]
    """An encoder and a decoder. It keeps no cache of the decoder's; the source is read once."""

    def get_encoder(self, *_: Any, **__: Any) -> _Encoder:
        return _Encoder(self.transformer)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """input_ids: the source, (batch, source_time); decoder_input_ids, labels: (batch, time).

        Without decoder_input_ids they are the labels shifted right behind the start token, as in T5. A label of -100
        counts for nothing.
        """
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("give decoder_input_ids, or labels to make them of")
            start = torch.full_like(labels[:, :1], self.config.decoder_start_token_id)
            decoder_input_ids = torch.cat((start, labels[:, :-1]), dim=1).clamp(min=0)
        if encoder_outputs is None:
            if input_ids is None:
                raise ValueError("give input_ids, the source, or encoder_outputs made of it")
            encoder_outputs = self.get_encoder()(input_ids, attention_mask)
        memory = encoder_outputs[0]
        hidden = self.transformer(decoder_input_ids, memory=memory, mask=attention_mask)
        loss, logits = self._scored(hidden, labels, num_items_in_batch)
        return Seq2SeqLMOutput(loss=loss, logits=logits, encoder_last_hidden_state=memory)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, encoder_outputs: Any = None, **_: Any
    ) -> dict[str, Any]:
        told = input_ids[:, -self.transformer.config.context :]
        return {"decoder_input_ids": told, "attention_mask": attention_mask, "encoder_outputs": encoder_outputs}


AutoConfig.register("forja", ForjaConfig)
AutoModelForCausalLM.register(ForjaConfig, ForjaForCausalLM)
AutoModelForMaskedLM.register(ForjaConfig, ForjaForMaskedLM)
AutoModelForSeq2SeqLM.register(ForjaConfig, ForjaForSeq2SeqLM)
AutoModelForSequenceClassification.register(ForjaConfig, ForjaForSequenceClassification)
