"""Hugging Face folders, out and in: a trained model as a plain folder that needs no Forja to load,
and any folder of the families Forja's transformer can express as a Forja transformer.

Only safetensors and JSON are read; a folder's code is never run. What each family calls things is
in `families.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from forja.errors import ForjaError
from forja.models.families import FAMILIES, Weights
from forja.models.transformer import Transformer, TransformerConfig
from forja.run import complete_or_absent, write_json_atomic
from forja.tokens.bpe import Tokenizer, load_tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class ExportFigures:
    """architecture: the class that loads the folder; standard: whether it needs no Forja; note: the same in words."""

    architecture: str
    standard: bool
    note: str
    parameters: int


def export(checkpoint: Path, tokenizer_folder: Path, workspace: Path) -> ExportFigures:
    """Write the checkpoint's model as a Hugging Face folder. Raises ForjaError."""
    return export_model(load_model(checkpoint), tokenizer_folder, workspace)


def export_model(model: Transformer, tokenizer_folder: Path, folder: Path) -> ExportFigures:
    """Write config.json, model.safetensors (fp32), generation_config.json and the tokenizer's files.

    Rows of the embedding that only pad the vocabulary stay. The same model gives the same bytes.
    Raises ForjaError where the weights cannot be written.
    """
    config = model.config
    family = next(family for family in FAMILIES if family.expresses(config))
    architecture, standard = family.architecture(config), family.model_type != "forja"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
    write_weights(folder / "model.safetensors", family.weights_out(weights, config))
    tokenizer = load_tokenizer(tokenizer_folder)
    ends: dict[str, Any] = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    described = {
        "architectures": [architecture],
        "model_type": family.model_type,
        "dtype": "float32",
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": standard,
        **ends,
        **family.config_out(config),
    }
    # The padding id is named below only: in config.json it would stop that row's gradient in Qwen3.
    pad = tokenizer.control("<|pad|>")
    if config.architecture == "encoder-decoder":
        ends["decoder_start_token_id"] = pad
        described["decoder_start_token_id"] = pad
    write_json_atomic(folder / "config.json", described)
    write_json_atomic(folder / "generation_config.json", {**ends, "pad_token_id": pad, "do_sample": True})
    for name in TOKENIZER_FILES:
        if (tokenizer_folder / name).is_file():
            shutil.copyfile(tokenizer_folder / name, folder / name)
    note = (
        f"a plain {architecture}: AutoModelForCausalLM loads it with no Forja installed"
        if standard
        else "no standard class has this mixture of parts: it is exported as model type `forja`, "
        "which loads after `import forja.models.hf`"
    )
    return ExportFigures(architecture, standard, note, model.num_parameters())


def load_run_model(run_folder: Path) -> tuple[Transformer, Tokenizer]:
    """A run's exported model and its tokenizer. Raises ForjaError.

    A fine-tuned model of a family that Forja's transformer does not express comes behind the same interface.
    """
    folder = run_folder / "model"
    if not folder.is_dir():
        raise ForjaError("this run has no model yet.", where=str(run_folder), fix="Run it to the end first.")
    described = read_config(folder / "config.json")
    if "ForSequenceClassification" in str(described.get("architectures")):
        raise ForjaError(
            "this run's model tells classes, and continues no text.",
            where=str(run_folder),
            fix=f"forja classify {run_folder.name} TEXT",
        )
    if any(family.model_type == described.get("model_type") for family in FAMILIES):
        return load_folder(folder), load_tokenizer(folder)
    from forja.models.base import Base
    from forja.models.foreign import load_decoder
    from forja.tokens.texts import begin_id

    foreign: Any = load_decoder(Base(str(folder), folder)).eval()
    tokenizer = load_tokenizer(folder)
    tokenizer.end_of_text = begin_id(folder)
    return foreign, tokenizer


def load_folder(folder: Path, *, headless: bool = False) -> Transformer:
    """The transformer in a Hugging Face folder, in fp32 and ready to evaluate. headless: it has no output layer, as a
    classifier has none.

    Raises ForjaError for damaged folders, and for families and parts that it cannot express.
    """
    described = read_config(folder / "config.json")
    family = next((family for family in FAMILIES if family.model_type == described.get("model_type")), None)
    if family is None:
        known = ", ".join(family.model_type for family in FAMILIES)
        raise ForjaError(
            f"its model type is {described.get('model_type')!r}; Forja's transformer reads {known}.", where=str(folder)
        )
    with _placed(folder / "config.json", "the configuration"):
        config = family.config_in(described)
        config = replace(config, tie_embeddings=True) if headless else config
    weights = _read_weights(folder)
    if headless:
        for name in ("score.weight", "ngrams.weight"):
            weights.pop(name, None)
    with _placed(folder, "the weights"):
        named = family.weights_in(weights, config)
    return _build(config, named, folder)


def save_model(model: Transformer, folder: Path) -> None:
    """Forja's own form: model.safetensors under the transformer's names, and model.json. Raises ForjaError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "model.safetensors", model.state_dict())
    write_json_atomic(folder / "model.json", asdict(model.config))


def load_model(folder: Path) -> Transformer:
    """What `save_model` wrote, or a training checkpoint's model. Raises ForjaError."""
    described = read_config(folder / "model.json")
    with _placed(folder / "model.json", "the configuration"):
        config = TransformerConfig(**described)
    return _build(config, _read_weights(folder), folder)


def _build(config: TransformerConfig, weights: Weights, folder: Path) -> Transformer:
    try:
        model = Transformer(config)
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        said = str(error).splitlines()[-1].strip()
        raise ForjaError(f"the weights do not fit the configuration ({said}).", where=str(folder)) from None
    return model.eval()


@contextmanager
def _placed(place: Path, what: str) -> Iterator[None]:
    """Say where a foreign folder failed, as errors a person can act on."""
    try:
        yield
    except ForjaError as error:
        raise ForjaError(error.what, where=str(place)) from None
    except KeyError as error:
        raise ForjaError(f"{error.args[0]!r} is missing from {what}.", where=str(place)) from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ForjaError(f"{what} cannot be understood ({error}).", where=str(place)) from None


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ForjaError."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ForjaError(f"there is no {path.name} here.", where=str(path.parent)) from None
    except (ValueError, TypeError):
        raise ForjaError("the file is damaged (it is not a JSON object).", where=str(path)) from None


def _read_weights(folder: Path) -> Weights:
    paths = sorted(folder.glob("model*.safetensors"))
    if not paths:
        pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)]
        why = f" {pickled[0]} is pickled, which can run code, and is not read." if pickled else ""
        raise ForjaError(f"there is no model.safetensors here.{why}", where=str(folder))
    weights: Weights = {}
    for path in paths:
        try:
            weights.update(load_file(path))
        except (SafetensorError, OSError) as error:
            raise ForjaError(f"the weights cannot be read ({error}).", where=str(path)) from None
    return {name: tensor.float() for name, tensor in weights.items()}


def read_tensor(folder: Path, name: str) -> Tensor | None:
    """One tensor of a folder, in float32; None where there is none of this name. Raises ForjaError."""
    return _read_weights(folder).get(name)


def write_weights(path: Path, weights: Weights) -> None:
    """Safetensors, complete or not at all. Raises ForjaError."""
    plain = {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}
    try:
        with complete_or_absent(path) as aside:
            save_file(plain, aside, metadata={"format": "pt"})
    except (SafetensorError, OSError) as error:
        raise ForjaError(
            f"the weights could not be written ({error}).",
            where=str(path),
            fix="Make room or mend the permission, and give the same command again.",
        ) from None
