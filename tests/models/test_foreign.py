"""Models of other families behind the transformer's interface: the same numbers as transformers gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from forja.errors import ForjaError
from forja.models.base import find_base
from forja.models.foreign import ForeignDecoder, load_classifier, load_decoder, make_decoder
from models.bases import CONFIGS, ENCODERS, save_base

TOKENS = torch.tensor([[5, 200, 301, 17, 256, 40]])


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_decoders_logits_are_its_own(kind: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base(kind, tmp_path / kind, tokenizer_folder)
    model = load_decoder(find_base(str(folder))).eval()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.allclose(model.logits(model(TOKENS)), theirs(TOKENS).logits, atol=1e-5)
    assert (model.config.layers, model.config.width, model.config.context) == (2, 32, 64)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_cache_changes_nothing(kind: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    model = load_decoder(find_base(str(save_base(kind, tmp_path / kind, tokenizer_folder)))).eval()
    with torch.no_grad():
        whole = model(TOKENS)
        cache = model.room(8)
        parts = torch.cat([model(TOKENS[:, :4], cache=cache), model(TOKENS[:, 4:], cache=cache)], dim=1)
    assert cache.length == 6
    assert torch.allclose(whole, parts, atol=1e-5)


def test_random_weights_depend_on_the_seed_alone(tmp_path: Path, tokenizer_folder: Path) -> None:
    base = find_base(str(save_base("llama", tmp_path / "llama", tokenizer_folder)))
    torch.manual_seed(9)
    one = make_decoder(base, seed=1).unembedding
    torch.manual_seed(10)
    assert torch.equal(one, make_decoder(base, seed=1).unembedding)
    assert not torch.equal(one, make_decoder(base, seed=2).unembedding)


def test_logits_that_are_more_than_a_product_are_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.GraniteConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=64,
            vocab_size=512,
            logits_scaling=8.0,
        )
    )
    with pytest.raises(ForjaError, match="no other way to train it"):
        ForeignDecoder(model)


@pytest.mark.parametrize("kind", [*ENCODERS, "gpt2", "llama"])
def test_padding_changes_no_class(kind: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    base = find_base(str(save_base(kind, tmp_path / kind, tokenizer_folder)))
    model = load_classifier(base, ["ham", "spam", "other"], regression=False, pad=1).eval()
    padded = torch.cat([TOKENS, torch.full((1, 3), 1)], dim=1)
    mask = torch.tensor([[True] * 6 + [False] * 3])
    with torch.no_grad():
        alone = model(TOKENS, mask=torch.ones_like(TOKENS, dtype=torch.bool))
        beside = model(padded, mask=mask)
    assert alone.shape == (1, 3)
    assert torch.allclose(alone, beside, atol=1e-5)


def test_four_bits_without_a_gpu_are_a_sentence(tmp_path: Path, tokenizer_folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    base = find_base(str(save_base("llama", tmp_path / "llama", tokenizer_folder)))
    with pytest.raises(ForjaError, match="need a GPU"):
        load_decoder(base, quantize=True)


def test_damaged_weights_are_a_sentence(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base("llama", tmp_path / "llama", tokenizer_folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ForjaError, match="cannot be loaded"):
        load_decoder(find_base(str(folder)))
