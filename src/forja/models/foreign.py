"""Any model that transformers' Auto classes load, behind the interface of Forja's transformer, so that one loop and one
evaluation serve both: tokens to hidden states, or to the logits of classes.

A folder's code runs only where its base allows it, and weights come from safetensors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from forja.errors import ForjaError
from forja.models.base import Base

CLOSE = 1e-3
"""How far logits made of hidden states may be from the model's own, relative to the largest."""


@dataclass(frozen=True)
class ForeignConfig:
    """What Forja asks of a model's shape."""

    vocab_size: int
    context: int
    layers: int
    width: int
    logit_softcap: float | None
    architecture: str = "decoder"


class ForeignCache:
    """A foreign decoder's keys and values of the tokens seen so far."""

    def __init__(self) -> None:
        from transformers import DynamicCache

        self.past = DynamicCache()

    @property
    def length(self) -> int:
        return int(self.past.get_seq_length())


class ForeignDecoder(nn.Module):
    """An AutoModelForCausalLM: tokens (batch, time) int64 -> hidden states (batch, time, width).

    Raises ForjaError for a model whose logits are more than its output layer's product, which the chunked loss cannot
    make.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model
        self.config = foreign_config(model.config)
        self._check()

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None, cache: ForeignCache | None = None) -> Tensor:
        past = {"use_cache": False} if cache is None else {"use_cache": True, "past_key_values": cache.past}
        told = self.inner.base_model(input_ids=tokens, attention_mask=mask, **past)
        return told.last_hidden_state  # type: ignore[no-any-return]

    @property
    def unembedding(self) -> Tensor:
        """The output matrix, (vocab_size, width)."""
        return self.inner.get_output_embeddings().weight  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (..., width) -> logits (..., vocab_size)."""
        logits = hidden @ self.unembedding.t()
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def room(self, tokens: int) -> ForeignCache:
        """An empty cache."""
        return ForeignCache()

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def _check(self) -> None:
        output = self.inner.get_output_embeddings()
        fits = output is not None and getattr(output, "bias", None) is None
        if fits:
            training, tokens = self.training, torch.arange(2).unsqueeze(0).to(output.weight.device)
            self.eval()
            theirs = self.inner(input_ids=tokens, use_cache=False).logits.float()
            ours = self.logits(self(tokens)).float()
            fits = float((theirs - ours).abs().max()) <= CLOSE * max(1.0, float(theirs.abs().max()))
            self.train(training)
        if not fits:
            raise ForjaError(
                f"the logits of {type(self.inner).__name__} are not its hidden states times its output layer, and "
                "Forja has no other way to train it.",
                fix="Use a model of the GPT-2, Llama, Mistral, Qwen or Gemma families.",
            )


class ForeignClassifier(nn.Module):
    """An AutoModelForSequenceClassification: tokens and mask (batch, time) -> logits (batch, classes)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model
        self.config = foreign_config(model.config)

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return self.inner(input_ids=tokens, attention_mask=mask).logits  # type: ignore[no-any-return]


def foreign_config(config: Any) -> ForeignConfig:
    """The shape that a Hugging Face configuration tells of, under the names that families give."""
    config = config.get_text_config() if hasattr(config, "get_text_config") else config

    def first(*names: str) -> Any:
        return next((value for name in names if (value := getattr(config, name, None)) is not None), None)

    context = first("max_position_embeddings", "n_positions", "max_seq_len") or 2048
    if first("model_type") in ("roberta", "xlm-roberta", "camembert"):  # two positions are the padding's
        context -= 2
    return ForeignConfig(
        vocab_size=int(first("vocab_size")),
        context=int(context),
        layers=int(first("num_hidden_layers", "n_layer", "n_layers") or 1),
        width=int(first("hidden_size", "n_embd", "dim") or 1),
        logit_softcap=first("final_logit_softcapping"),
    )


def context_of(base: Base) -> int:
    """Tokens that the base reads at once. Raises ForjaError."""
    if "transformer" in base.described:
        return int(base.described["transformer"]["context"])
    import transformers

    with _sentences(base):
        config = transformers.AutoConfig.from_pretrained(base.folder, trust_remote_code=base.remote_code)
    return foreign_config(config).context


def load_decoder(base: Base, *, quantize: bool = False) -> ForeignDecoder:
    """The base as a decoder, in float32. Raises ForjaError."""
    import transformers

    return ForeignDecoder(_load(transformers.AutoModelForCausalLM.from_pretrained, base, quantize=quantize))


def load_classifier(
    base: Base, labels: list[str], *, regression: bool, pad: int | None, quantize: bool = False
) -> ForeignClassifier:
    """The base under a classification layer for `labels`, new where the folder has none that fits.

    Raises ForjaError.
    """
    import transformers

    settings = _labelled(labels, regression=regression, pad=pad, described=base.described)
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    return ForeignClassifier(_load(load, base, quantize=quantize, ignore_mismatched_sizes=True, **settings))


def make_decoder(base: Base, *, seed: int) -> ForeignDecoder:
    """A decoder of the base's shape with random weights."""
    import transformers

    return ForeignDecoder(_made(transformers.AutoModelForCausalLM, base, {}, seed))


def make_classifier(
    base: Base, labels: list[str], *, regression: bool, pad: int | None, seed: int
) -> ForeignClassifier:
    """A classifier of the base's shape with random weights."""
    import transformers

    settings = _labelled(labels, regression=regression, pad=pad, described=base.described)
    return ForeignClassifier(_made(transformers.AutoModelForSequenceClassification, base, settings, seed))


def label_settings(labels: list[str], *, regression: bool) -> dict[str, Any]:
    """What config.json says of the classes."""
    named = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    kind = "regression" if regression else "single_label_classification"
    return {**named, "num_labels": len(labels), "problem_type": kind}


def _labelled(labels: list[str], *, regression: bool, pad: int | None, described: dict[str, Any]) -> dict[str, Any]:
    settings = label_settings(labels, regression=regression)
    if described.get("pad_token_id") is None and pad is not None:
        settings["pad_token_id"] = pad
    return settings


def _made(auto: Any, base: Base, settings: dict[str, Any], seed: int) -> Any:
    import transformers

    with _sentences(base):
        config = transformers.AutoConfig.from_pretrained(base.folder, trust_remote_code=base.remote_code, **settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return auto.from_config(config, trust_remote_code=base.remote_code, torch_dtype=torch.float32)


def _load(load: Callable[..., Any], base: Base, *, quantize: bool, **settings: Any) -> Any:
    if quantize:
        settings["quantization_config"] = four_bits()
    with _sentences(base):
        return load(
            base.folder,
            use_safetensors=True,
            trust_remote_code=base.remote_code,
            local_files_only=True,
            dtype=torch.float32,
            **settings,
        )


def four_bits() -> Any:
    """QLoRA's quantization (Dettmers et al. 2023, section 3). Raises ForjaError where it cannot be had."""
    from importlib.util import find_spec

    if not torch.cuda.is_available():
        raise ForjaError(
            "4-bit weights need a GPU, and there is none.",
            where="finetune.lora.quantize",
            fix="Leave quantize out: LoRA works on a CPU too.",
        )
    if find_spec("bitsandbytes") is None:
        raise ForjaError("4-bit weights need bitsandbytes.", fix="pip install 'forja[quantize]'")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


@contextmanager
def _sentences(base: Base) -> Iterator[None]:
    """Say as a sentence what transformers could not load; its own progress and reports are not shown."""
    from transformers.utils import logging

    heard = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except ForjaError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, SafetensorError) as error:
        said = str(error).strip().splitlines()
        raise ForjaError(
            f"the model cannot be loaded ({said[0] if said else type(error).__name__}).", where=base.named
        ) from None
    finally:
        logging.set_verbosity(heard)


def save_foreign(model: Any, folder: Path) -> None:
    """config.json and safetensors, as transformers writes them. Raises ForjaError where the disk refuses."""
    try:
        model.save_pretrained(folder)
    except Exception as error:  # safetensors has an error class of its own for a full disk
        raise ForjaError(f"the model could not be written ({error}).", where=str(folder)) from None
