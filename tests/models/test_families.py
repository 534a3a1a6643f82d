"""Folders that other people's tools wrote: read with the same mathematics, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

from forja.errors import ForjaError
from forja.models.hub import load_folder

TOKENS = torch.randint(0, 300, (2, 16), generator=torch.Generator().manual_seed(1))


def randomised(model: Any) -> Any:
    source = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15, generator=source).add_(1.0 if parameter.dim() == 1 else 0.0)
    return model.eval()


def foreign(name: str) -> Any:
    ends = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": 300}
    if name.startswith("gpt2"):
        activation = "gelu" if name == "gpt2-exact" else "gelu_new"
        shape = {"n_positions": 32, "n_embd": 48, "n_layer": 2, "n_head": 4, "activation_function": activation}
        return randomised(GPT2LMHeadModel(GPT2Config(**shape, **ends)))
    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    rope = {"rope_type": "default", "rope_theta": 1e6}
    tied = name == "qwen3"
    config = Qwen3Config(
        **shape,
        **ends,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        rope_parameters=rope,
    )
    return randomised(Qwen3ForCausalLM(config))


def rewrite(folder: Path, **changes: object) -> None:
    """Change keys of config.json; a key given as ... is removed."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


@pytest.mark.parametrize("name", ["gpt2", "gpt2-exact", "qwen3", "qwen3-untied"])
@pytest.mark.parametrize("shard", ["40KB", "1GB"])
def test_a_foreign_folder_gives_the_same_logits(name: str, shard: str, tmp_path: Path) -> None:
    theirs = foreign(name)
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    ours = load_folder(tmp_path)
    assert ours.num_parameters() == theirs.num_parameters()
    with torch.no_grad():
        assert (ours.logits(ours(TOKENS)) - theirs(TOKENS).logits).abs().max() < 1e-4


def test_gpt2_as_first_published_has_no_prefix_and_buffers_of_its_own(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    theirs = foreign("gpt2")
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in weights.items() if name != "lm_head.weight"}
    save_file({**bare, "h.0.attn.bias": torch.ones(1, 1, 32, 32)}, tmp_path / "model.safetensors")
    ours = load_folder(tmp_path)
    with torch.no_grad():
        assert (ours.logits(ours(TOKENS)) - theirs(TOKENS).logits).abs().max() < 1e-4


def test_a_qwen3_folder_from_before_transformers_5_keeps_its_rotary_base(tmp_path: Path) -> None:
    theirs = foreign("qwen3")
    theirs.save_pretrained(tmp_path)
    rewrite(tmp_path, rope_parameters=..., rope_theta=1e6, rope_scaling=None)
    ours = load_folder(tmp_path)
    with torch.no_grad():
        assert (ours.logits(ours(TOKENS)) - theirs(TOKENS).logits).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("gpt2", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("gpt2", {"n_embd": ...}, "'n_embd' is missing"),
        ("gpt2", {"n_embd": "wide"}, "cannot be understood"),
        ("gpt2", {"n_head": 0}, "cannot be understood"),
        ("gpt2", {"n_layer": 3}, "transformer.h.2.ln_1.weight' is missing from the weights"),
        ("qwen3", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope_type"),
        ("qwen3", {"attention_bias": True}, "attention_bias"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"model_type": "llama"}, "model type is 'llama'"),
    ],
)
def test_other_mathematics_are_refused_not_loaded_wrong(
    name: str, changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    foreign(name).save_pretrained(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(ForjaError, match=said) as raised:
        load_folder(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_configuration_that_is_no_object_is_a_sentence(tmp_path: Path) -> None:
    for text in ("[1, 2]", "{", "7"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ForjaError, match="damaged"):
            load_folder(tmp_path)
