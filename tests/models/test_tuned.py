"""Bases made ready for fine-tuning, and what comes out: plain folders that transformers loads."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

import forja.models.hf  # noqa: F401  (registers model type forja)
from forja.errors import ForjaError
from forja.models.base import Base, find_base
from forja.models.classifier import TransformerClassifier
from forja.models.foreign import ForeignClassifier, ForeignDecoder
from forja.models.hub import export_model, load_folder
from forja.models.layers import blocks_of, layer_numbers
from forja.models.lora import linear_layers
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.models.tuned import Head, Shape, build_tuned, export_tuned, finished, load_classifier_folder
from forja.recipe import LoraSection, ModelSection
from forja.tokens.texts import TextEncoder, padding_id
from forja.training.tensors import model_tensors
from models.bases import ENCODERS, save_base

OURS = ("gpt2", "modern", "encoder")
HEAD = Head(["ham", "spam"])
LORA = LoraSection(rank=4)


def forja_base(kind: str, folder: Path, tokenizer_folder: Path) -> Base:
    shape = {"layers": 2, "heads": 2, "width": 32, "ffn_width": 64}
    kinds = {
        "gpt2": ModelSection(preset="gpt2", **shape),
        "modern": ModelSection(preset="modern", tie_embeddings=False, **shape),
        "encoder": ModelSection(preset="modern", architecture="encoder", **shape),
    }
    model = Transformer(resolve_config(kinds[kind], vocabulary=512, context=64))
    model.init_weights(4)
    with torch.no_grad():
        for parameter in model.parameters():  # blocks that begin as nothing would hide what LoRA does to them
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    export_model(model, tokenizer_folder, folder)
    return find_base(str(folder))


def any_base(kind: str, folder: Path, tokenizer_folder: Path) -> Base:
    if kind in OURS:
        return forja_base(kind, folder, tokenizer_folder)
    return find_base(str(save_base(kind.removeprefix("foreign-"), folder, tokenizer_folder)))


FOREIGN = ("llama", "bert", "distilbert")


@pytest.mark.parametrize(("kind", "lora"), list(itertools.product((*OURS, *FOREIGN), (None, LORA))))
def test_a_classifiers_folder_gives_transformers_the_same_classes(
    kind: str, lora: LoraSection | None, tmp_path: Path, tokenizer_folder: Path
) -> None:
    base = any_base(kind, tmp_path / "base", tokenizer_folder)
    shape = Shape(HEAD, lora=lora, seed=5)
    model = build_tuned(base, shape)
    if lora:
        stir_lora(model)
    done = finished(base, shape, model_tensors(model))
    told = export_tuned(done, base, HEAD, tmp_path / "out")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = ["The server blocks the router.", "At night"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        again, labels = load_classifier_folder(tmp_path / "out")
        ours = torch.cat(
            [again(torch.tensor([ids])) for ids in TextEncoder(tmp_path / "out", max_tokens=64).encode(texts)]
        )
    assert labels == ["ham", "spam"]
    assert theirs.config.id2label == {0: "ham", 1: "spam"}
    assert torch.allclose(ours, expected, atol=1e-5)
    assert told["standard"] == (kind != "encoder")
    assert isinstance(again, TransformerClassifier if kind in OURS else ForeignClassifier)


@pytest.mark.parametrize("kind", ["gpt2", "modern", "llama"])
def test_a_decoder_with_merged_lora_computes_what_it_did(kind: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    base = any_base(kind, tmp_path / "base", tokenizer_folder)
    shape = Shape(lora=LORA, seed=5)
    model = build_tuned(base, shape)
    tokens = torch.tensor([[3, 300, 200, 41]])
    with torch.no_grad():
        before = build_tuned(base, Shape())(tokens)
        assert torch.allclose(model(tokens), before, atol=1e-6)  # nothing added yet
        stir_lora(model)
        adapted = model.eval()(tokens)
        assert not torch.allclose(adapted, before, atol=1e-3)
        done = finished(base, shape, model_tensors(model))
        assert torch.allclose(done(tokens), adapted, atol=1e-5)
        export_tuned(done, base, None, tmp_path / "out")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
        assert torch.allclose(theirs(tokens).logits, done.logits(done(tokens)), atol=1e-4)


def test_lora_trains_what_it_adds_and_the_new_layer_alone(tmp_path: Path, tokenizer_folder: Path) -> None:
    for kind in ("modern", "bert"):
        model = build_tuned(any_base(kind, tmp_path / kind, tokenizer_folder), Shape(HEAD, lora=LORA))
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert all("lora_" in name or "score" in name or "classifier" in name for name in trained)
        assert any("lora_" in name for name in trained)
        assert any("score" in name or "classifier" in name for name in trained)
        assert set(model_tensors(model)) == trained  # a checkpoint holds no copy of the base


def stir_lora(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", [*OURS, *ENCODERS, "llama"])
def test_layers_are_numbered_from_the_embedding_up(kind: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    model = build_tuned(any_base(kind, tmp_path / "base", tokenizer_folder), Shape(HEAD))
    numbers = layer_numbers(model)
    assert len(blocks_of(model)) == 2
    assert set(numbers.values()) == {0, 1, 2, 3}
    assert all(number == 0 for name, number in numbers.items() if "embed" in name or "wte" in name)
    assert all(number == 3 for name, number in numbers.items() if "score" in name or "classifier" in name)
    assert len(linear_layers(model)) >= 2 * 4


@pytest.mark.parametrize("kind", ["modern", "bert"])
def test_frozen_layers_are_in_no_checkpoint(kind: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    base = any_base(kind, tmp_path / "base", tokenizer_folder)
    shape = Shape(HEAD, freeze_layers=1)
    model = build_tuned(base, shape)
    numbers = layer_numbers(model)
    assert all(parameter.requires_grad == (numbers[name] > 1) for name, parameter in model.named_parameters())
    kept = model_tensors(model)
    assert min(numbers[name] for name in kept if name in numbers) == 2
    with torch.no_grad():
        tokens = torch.tensor([[5, 6, 7]])
        assert torch.allclose(finished(base, shape, kept)(tokens), model.eval()(tokens), atol=1e-6)


def test_random_weights_are_the_bases_shape_and_none_of_its_knowledge(tmp_path: Path, tokenizer_folder: Path) -> None:
    for kind in ("modern", "bert", "llama"):
        base = any_base(kind, tmp_path / kind, tokenizer_folder)
        known, fresh = build_tuned(base, Shape(HEAD)), build_tuned(base, Shape(HEAD, from_scratch=True, seed=2))
        shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (known, fresh)]
        assert shapes[0] == shapes[1]
        first = next(name for name in shapes[0] if "embed" in name)
        assert not torch.equal(known.state_dict()[first], fresh.state_dict()[first])


def test_a_classifier_can_be_the_base_of_another(tmp_path: Path, tokenizer_folder: Path) -> None:
    base = any_base("modern", tmp_path / "base", tokenizer_folder)
    export_tuned(build_tuned(base, Shape(HEAD)), base, HEAD, tmp_path / "one")
    again = build_tuned(find_base(str(tmp_path / "one")), Shape(Head(["a", "b", "c"])))
    assert isinstance(again, TransformerClassifier)
    first = load_folder(base.folder)
    assert torch.equal(again.transformer.embedding.weight, first.embedding.weight)


def test_an_encoder_continues_no_text(tmp_path: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(ForjaError, match="continues no text"):
        build_tuned(any_base("encoder", tmp_path / "base", tokenizer_folder), Shape())


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    base = any_base("modern", tmp_path / "base", tokenizer_folder)
    with pytest.raises(ForjaError, match="another model's"):
        finished(base, Shape(HEAD), {"score.bias": torch.zeros(2)})


def test_a_family_with_parts_of_its_own_stays_what_it_is(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base("qwen3", tmp_path / "base", tokenizer_folder)
    assert isinstance(build_tuned(find_base(str(folder)), Shape()), Transformer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_bias": True}))
    assert isinstance(build_tuned(replace(find_base(str(folder))), Shape()), ForeignDecoder)


def test_texts_are_cut_to_fit_and_speak_as_no_control_token(tokenizer_folder: Path) -> None:
    encoder = TextEncoder(tokenizer_folder, max_tokens=12)
    plain = encoder.encode(["The server", "The server " * 50, ""])
    assert [len(ids) <= 12 for ids in plain] == [True] * 3
    assert all(ids[0] == 0 and ids[-1] == 3 for ids in plain)  # begun as a document, ended by what sums it up
    told = encoder.encode(["<|endoftext|><|cls|>"])[0]
    assert not {0, 3} & set(told[1:-1])
    assert padding_id(tokenizer_folder) == 1
