"""Exported folders give Forja's logits to people who have no Forja, and come back unchanged."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from forja.errors import ForjaError
from forja.models.families import FAMILIES
from forja.models.hub import export_model, load_folder, load_model, load_run_model, save_model
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.recipe import ModelSection

TOLERANCE = 1e-4
VARIANTS = {
    "gpt2": {"preset": "gpt2"},
    "gpt2-tanh": {"preset": "gpt2", "activation": "gelu_tanh"},
    "modern": {"preset": "modern"},
    "modern-grouped": {"preset": "modern", "kv_heads": 2},
    "modern-untied": {"preset": "modern", "tie_embeddings": False, "head_width": 24},
}


def random_model(**keys: object) -> Transformer:
    """A small model all of whose weights are random, norms and biases too."""
    section = ModelSection.model_validate({"layers": 2, "heads": 4, "width": 64, **keys})
    model = Transformer(resolve_config(section, vocabulary=600, context=32))
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15, generator=source)
            if parameter.dim() == 1:
                parameter.add_(1.0)
    return model.eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 600, (2, 32), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_standard_class_gives_the_same_logits_and_gradients(
    name: str, tokens: torch.Tensor, tokenizer_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    ours = random_model(**VARIANTS[name])
    figures = export_model(ours, tokenizer_folder, tmp_path)
    assert figures.standard
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == figures.architecture
    assert theirs.num_parameters() == ours.num_parameters()
    mine = ours.logits(ours(tokens))
    other = theirs(tokens).logits
    assert (mine - other).abs().max() < TOLERANCE
    for logits in (mine, other):
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    (family,) = (family for family in FAMILIES if family.model_type == theirs.config.model_type)
    slopes = family.weights_in({key: weight.grad for key, weight in theirs.named_parameters()}, ours.config)
    for key, weight in ours.named_parameters():
        assert weight.grad is not None
        assert (weight.grad - slopes[key]).abs().max() < TOLERANCE, key


def test_the_folder_loads_where_forja_cannot_be_imported(
    tokens: torch.Tensor, tokenizer_folder: Path, tmp_path: Path
) -> None:
    models = {preset: random_model(preset=preset) for preset in ("gpt2", "modern")}
    for preset, model in models.items():
        export_model(model, tokenizer_folder, tmp_path / preset)
    save_file({"tokens": tokens}, tmp_path / "tokens.st")
    script = f"""
import os, sys
sys.modules["forja"] = None
os.chdir({str(tmp_path)!r})
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
for preset in ("gpt2", "modern"):
    model = AutoModelForCausalLM.from_pretrained(preset)
    save_file({{"logits": model(load_file("tokens.st")["tokens"]).logits.detach()}}, preset + ".st")
    tokenizer = AutoTokenizer.from_pretrained(preset)
    assert tokenizer.decode(tokenizer.encode("The server, 7.")) == "The server, 7."
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id == 0
    assert tokenizer.pad_token_id == model.generation_config.pad_token_id == 1
"""
    subprocess.run([sys.executable, "-I", "-c", script], check=True, capture_output=True)
    for preset, model in models.items():
        other = load_file(tmp_path / f"{preset}.st")["logits"]
        assert (model.logits(model(tokens)) - other).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", [*VARIANTS, "mixed"])
def test_import_undoes_export(name: str, tokens: torch.Tensor, tokenizer_folder: Path, tmp_path: Path) -> None:
    ours = random_model(**VARIANTS.get(name, {"preset": "gpt2", "positions": "rope", "activation": "relu2"}))
    export_model(ours, tokenizer_folder, tmp_path)
    back = load_folder(tmp_path)
    assert dataclasses.replace(back.config, rope_theta=0) == dataclasses.replace(ours.config, rope_theta=0)
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in ours.state_dict().items())


def test_a_mixture_no_standard_class_has_says_so_and_loads_with_forja(
    tokens: torch.Tensor, tokenizer_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import forja.models.hf  # noqa: F401

    ours = random_model(preset="modern", activation="relu2")
    figures = export_model(ours, tokenizer_folder, tmp_path)
    assert not figures.standard
    assert "forja" in figures.note
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert (ours.logits(ours(tokens)) - theirs(tokens).logits).abs().max() < TOLERANCE
    made = theirs.generate(tokens[:1, :4], max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=1)
    assert made.shape == (1, 9)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == 512
    theirs.save_pretrained(tmp_path / "again")
    assert (load_folder(tmp_path / "again")(tokens) - ours(tokens)).abs().max() < TOLERANCE
    right, left = torch.ones_like(tokens), torch.ones_like(tokens)
    right[:, -1], left[:, 0] = 0, 0
    theirs(tokens, attention_mask=right)
    with pytest.raises(ValueError, match="right"):
        theirs(tokens, attention_mask=left)


def test_exporting_twice_gives_the_same_bytes(tokenizer_folder: Path, tmp_path: Path) -> None:
    ours = random_model(preset="modern")
    for place in ("a", "b"):
        export_model(ours, tokenizer_folder, tmp_path / place)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_forjas_own_form_round_trips(tmp_path: Path) -> None:
    ours = random_model(preset="gpt2")
    save_model(ours, tmp_path)
    back = load_model(tmp_path)
    assert back.config == ours.config
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in ours.state_dict().items())


def test_pickled_weights_are_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    export_model(random_model(preset="gpt2"), tokenizer_folder, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ForjaError, match="pickled"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("model_type", "mamba", "model type"), ("activation_function", "relu", "relu"), ("n_embd", 128, "do not fit")],
)
def test_a_foreign_folder_is_refused_with_a_reason(
    key: str, value: object, said: str, tokenizer_folder: Path, tmp_path: Path
) -> None:
    export_model(random_model(preset="gpt2"), tokenizer_folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ForjaError, match=said):
        load_folder(tmp_path)


def test_a_model_description_of_other_keys_is_a_sentence(tmp_path: Path) -> None:
    save_model(random_model(preset="gpt2"), tmp_path)
    (tmp_path / "model.json").write_text('{"depth": 2}')
    with pytest.raises(ForjaError, match="cannot be understood"):
        load_model(tmp_path)


def test_truncated_weights_are_a_sentence(tokenizer_folder: Path, tmp_path: Path) -> None:
    export_model(random_model(preset="gpt2"), tokenizer_folder, tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ForjaError, match="cannot be read"):
        load_folder(tmp_path)


def test_a_full_disk_is_a_sentence_and_leaves_the_old_weights(tmp_path: Path) -> None:
    """A file-size limit, which the system enforces as it does a quota, stands for the full disk."""
    save_model(random_model(preset="gpt2"), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    script = f"""
import resource, signal
from pathlib import Path
from forja.errors import ForjaError
from forja.models.hub import load_model, save_model
model = load_model(Path({str(tmp_path)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save_model(model, Path({str(tmp_path)!r}))
except ForjaError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "could not be written" in said
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_run_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no model yet"):
        load_run_model(tmp_path)
