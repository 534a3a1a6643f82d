"""A base as what is fine-tuned: the model with whatever its kind needs on it, and its plain Hugging Face folder after.

Folders of the families that Forja's transformer expresses become Forja's transformer; any other stays what it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forja.errors import ForjaError
from forja.models import foreign, hub
from forja.models.base import Base
from forja.models.classifier import TransformerClassifier
from forja.models.families import FAMILIES
from forja.models.layers import freeze_lowest
from forja.models.lora import add_lora, merge_lora
from forja.models.transformer import Transformer
from forja.recipe import LoraSection
from forja.run import write_json_atomic
from forja.tokens.texts import TextEncoder, padding_id

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
)
CLASSIFIERS = {"gpt2": "GPT2ForSequenceClassification", "qwen3": "Qwen3ForSequenceClassification"}
"""The class that loads a family's classifier; Forja's own for any other mixture."""


@dataclass(frozen=True)
class Head:
    """A classification layer's classes by name; of a regression, the one value's."""

    labels: list[str]
    regression: bool = False


@dataclass(frozen=True)
class Shape:
    """How a base is fine-tuned. head: None for a model that continues text; ngrams: see TransformerClassifier."""

    head: Head | None = None
    from_scratch: bool = False
    lora: LoraSection | None = None
    freeze_layers: int = 0
    ngrams: int = 0
    seed: int = 0


def build_tuned(base: Base, shape: Shape) -> nn.Module:
    """The model that is trained: a Transformer or ForeignDecoder, or with a head a classifier. Raises ForjaError.

    Where part of the base is frozen, that part is in no checkpoint: the base has it.
    """
    model = _plain(base, shape)
    if shape.lora is not None:
        lora = shape.lora
        add_lora(model, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, seed=shape.seed)
    freeze_lowest(model, shape.freeze_layers)
    model.frozen_lie_in_base = shape.lora is not None or shape.freeze_layers > 0  # type: ignore[assignment]
    return model


def _plain(base: Base, shape: Shape) -> nn.Module:
    quantize = shape.lora is not None and shape.lora.quantize
    head, ours = shape.head, None if quantize else _as_transformer(base)
    if ours is not None:
        if shape.from_scratch:
            ours.init_weights(shape.seed)
        if head is not None:
            ngrams = 0 if head.regression else shape.ngrams
            return TransformerClassifier(without_output_layer(ours), len(head.labels), ngrams=ngrams, seed=shape.seed)
        if ours.config.architecture != "decoder":
            raise ForjaError(
                f"the base is an {ours.config.architecture}, which continues no text.",
                where=base.named,
                fix="Use a decoder, or finetune.kind: classification.",
            )
        return ours
    if head is None:
        if shape.from_scratch:
            return foreign.make_decoder(base, seed=shape.seed)
        return foreign.load_decoder(base, quantize=quantize)
    settings: dict[str, Any] = {"regression": head.regression, "pad": padding_id(base.folder)}
    if shape.from_scratch:
        return foreign.make_classifier(base, head.labels, seed=shape.seed, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)  # the new layer's weights
        return foreign.load_classifier(base, head.labels, quantize=quantize, **settings)


def _as_transformer(base: Base) -> Transformer | None:
    """The base as Forja's transformer, a classifier's own layer left out; None where it expresses no such model."""
    described = base.described
    if described.get("model_type") not in {family.model_type for family in FAMILIES} or base.remote_code:
        return None
    try:
        return hub.load_folder(base.folder, headless=is_classifier(described))
    except ForjaError:
        if described["model_type"] == "forja":
            raise
        return None  # a part of the family that ours cannot express


def is_classifier(described: Mapping[str, Any]) -> bool:
    """Whether a configuration is a sequence classifier's."""
    return any("ForSequenceClassification" in name for name in described.get("architectures") or [])


def without_output_layer(model: Transformer) -> Transformer:
    """The same transformer without an output layer of its own, which a classifier has no use for."""
    if model.config.tie_embeddings or model.config.architecture == "encoder-decoder":
        return model
    bare = Transformer(replace(model.config, tie_embeddings=True))
    bare.load_state_dict({name: value for name, value in model.state_dict().items() if name != "head.weight"})
    return bare


def finished(base: Base, shape: Shape, trained: Mapping[str, Tensor]) -> nn.Module:
    """The fine-tuned model in full precision, LoRA merged, ready to evaluate. trained: a checkpoint's tensors."""
    lora = None if shape.lora is None else shape.lora.model_copy(update={"quantize": False})
    model = build_tuned(base, replace(shape, lora=lora))
    own = model.state_dict()
    strange = sorted(trained.keys() - own.keys())
    if strange:
        raise ForjaError(f"the checkpoint is another model's: it has {strange[0]}.", where=base.named)
    model.load_state_dict({**own, **trained})
    merge_lora(model)
    return model.eval()


def export_tuned(
    model: nn.Module, base: Base, head: Head | None, folder: Path, *, plain: bool = False
) -> dict[str, Any]:
    """Write a plain Hugging Face folder; plain: how it reads texts, as TextEncoder has it. Returns
    {architecture, standard, parameters}. Raises ForjaError."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Transformer):
        copy_tokenizer(base.folder, folder)
        told = hub.export_model(model, base.folder, folder)
        return {"architecture": told.architecture, "standard": told.standard, "parameters": told.parameters}
    copy_tokenizer(base.folder, folder)
    if head is not None:  # with what it puts around a text to be told
        TextEncoder(base.folder, max_tokens=512, plain=plain).save(folder / "tokenizer.json")
    if isinstance(model, TransformerClassifier):
        assert head is not None
        architecture = _export_classifier(model, head, padding_id(base.folder), folder)
        standard = not architecture.startswith("Forja")
    else:
        assert isinstance(model, foreign.ForeignClassifier | foreign.ForeignDecoder)
        foreign.save_foreign(model.inner, folder)
        architecture, standard = type(model.inner).__name__, not base.remote_code
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"architecture": architecture, "standard": standard, "parameters": parameters}


def _export_classifier(model: TransformerClassifier, head: Head, pad: int | None, folder: Path) -> str:
    config = model.config
    plain = model.ngrams is None
    family = next(family for family in FAMILIES if family.expresses(config) and (plain or family.model_type == "forja"))
    architecture = CLASSIFIERS.get(family.model_type, "ForjaForSequenceClassification")
    weights = {name: tensor.detach().float() for name, tensor in model.transformer.state_dict().items()}
    named = {**family.weights_out(weights, config), "score.weight": model.score.weight.detach().float()}
    if model.ngrams is not None:
        named["ngrams.weight"] = model.ngrams.weight.detach().float()
    hub.write_weights(folder / "model.safetensors", named)
    described = {
        "architectures": [architecture],
        "model_type": family.model_type,
        "dtype": "float32",
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": True,
        "pad_token_id": pad,
        **foreign.label_settings(head.labels, regression=head.regression),
        **family.config_out(config),
    }
    if model.ngrams is not None:
        described["ngrams"] = {"orders": model.ngrams.orders, "buckets": model.ngrams.buckets}
    described.pop("num_labels")  # id2label says it
    write_json_atomic(folder / "config.json", described)
    return architecture


def load_classifier_folder(folder: Path) -> tuple[nn.Module, list[str]]:
    """A fine-tuned classifier's folder, ready to evaluate, and its classes' names. Raises ForjaError."""
    base = Base(str(folder), folder)
    described = base.described
    if not is_classifier(described):
        raise ForjaError(
            f"this model is no classifier ({(described.get('architectures') or ['unknown'])[0]}).",
            where=str(folder),
            fix="Fine-tune one: forja finetune classify --data FILE --base THIS --name NAME",
        )
    told = described.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    labels = [str(told[key]) for key in sorted(told, key=int)]
    regression = described.get("problem_type") == "regression"
    ours = _as_transformer(base)
    score = hub.read_tensor(folder, "score.weight") if ours is not None else None
    if ours is None or score is None:
        model = foreign.load_classifier(base, labels, regression=regression, pad=padding_id(folder))
        return model.eval(), labels
    asked = described.get("ngrams") or {"orders": 0, "buckets": None}
    classifier = TransformerClassifier(
        without_output_layer(ours), len(labels), ngrams=asked["orders"], buckets=asked["buckets"]
    )
    with torch.no_grad():
        classifier.score.weight.copy_(score)
        if classifier.ngrams is not None:
            found = hub.read_tensor(folder, "ngrams.weight")
            if found is None or found.shape != classifier.ngrams.weight.shape:
                raise ForjaError("the n-gram layer does not fit the configuration.", where=str(folder))
            classifier.ngrams.weight.copy_(found)
    return classifier.eval(), labels


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer's files, tokenizer.json made of others where there is none."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if not (folder / "tokenizer.json").is_file():
        TextEncoder(source, max_tokens=512).save(folder / "tokenizer.json")
