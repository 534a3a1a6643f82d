"""The Hugging Face architectures that Forja's transformer can express, and names and layouts both ways.

A folder whose mathematics differ from ours is refused with the key that differs, never loaded wrong.
Reading and writing the folders is in `hub.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from forja.errors import ForjaError
from forja.models.transformer import Activation, Architecture, TransformerConfig

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Family:
    """One Hugging Face architecture: what it can express, and names and layouts both ways.

    `config_in` and `weights_in` raise ForjaError for a part that ours cannot express, and KeyError for a
    key or tensor that is not there.
    """

    model_type: str
    architecture: Callable[[TransformerConfig], str]
    expresses: Callable[[TransformerConfig], bool]
    config_out: Callable[[TransformerConfig], dict[str, Any]]
    config_in: Callable[[dict[str, Any]], TransformerConfig]
    weights_out: Callable[[Weights, TransformerConfig], Weights]
    weights_in: Callable[[Weights, TransformerConfig], Weights]


def _refuse(described: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a configuration whose mathematics differ from ours; a key not given means its usual value."""
    for key, value in expected.items():
        if described.get(key, value) != value:
            raise ForjaError(f"its {key} is {described[key]!r}, and Forja's transformer has {value!r}.")


def _usual_decoder(c: TransformerConfig) -> bool:
    return c.architecture == "decoder" and c.norm_place == "pre"


# --- GPT-2 -----------------------------------------------------------------------------------

GPT2_NAMES = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn.up": "mlp.c_fc",
    "ffn.down": "mlp.c_proj",
}
GPT2_ACTIVATIONS: dict[Activation, str] = {"gelu": "gelu", "gelu_tanh": "gelu_new"}
GPT2_TOP = {
    "embedding.weight": "transformer.wte.weight",
    "position_embedding.weight": "transformer.wpe.weight",
    "final_norm.weight": "transformer.ln_f.weight",
    "final_norm.bias": "transformer.ln_f.bias",
}


def _gpt2_expresses(c: TransformerConfig) -> bool:
    parts = (c.norm, c.positions, c.qk_norm, c.bias, c.tie_embeddings, c.logit_softcap)
    whole = c.kv_heads == c.heads and c.heads * c.head_width == c.width
    usual = parts == ("layernorm", "learned", False, True, True, None)
    return _usual_decoder(c) and whole and c.activation in GPT2_ACTIVATIONS and usual


def _gpt2_config_out(c: TransformerConfig) -> dict[str, Any]:
    return {
        "n_layer": c.layers,
        "n_head": c.heads,
        "n_embd": c.width,
        "n_positions": c.context,
        "n_inner": c.ffn_width,
        "activation_function": GPT2_ACTIVATIONS[c.activation],
        "layer_norm_epsilon": c.norm_eps,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def _gpt2_config_in(d: dict[str, Any]) -> TransformerConfig:
    named = d.get("activation_function", "gelu_new")
    known: dict[str, Activation] = {theirs: ours for ours, theirs in GPT2_ACTIVATIONS.items()}
    activation = known.get(named, "gelu_tanh")
    usual = {
        "activation_function": GPT2_ACTIVATIONS[activation],
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    }
    _refuse(d, usual)
    width, heads = d["n_embd"], d["n_head"]
    return TransformerConfig(
        vocab_size=d["vocab_size"],
        context=d["n_positions"],
        layers=d["n_layer"],
        heads=heads,
        kv_heads=heads,
        width=width,
        head_width=width // heads,
        ffn_width=d.get("n_inner") or 4 * width,
        activation=activation,
        norm="layernorm",
        positions="learned",
        rope_theta=10_000.0,
        qk_norm=False,
        bias=True,
        tie_embeddings=True,
        norm_eps=d.get("layer_norm_epsilon", 1e-5),
    )


def _gpt2_pairs(config: TransformerConfig) -> list[tuple[str, str, bool]]:
    """Our name, GPT-2's, and whether its layout is (in, out) where ours is (out, in)."""
    pairs = [(ours, theirs, False) for ours, theirs in GPT2_TOP.items()]
    for layer in range(config.layers):
        for ours, theirs in GPT2_NAMES.items():
            for kind in ("weight", "bias"):
                turned = kind == "weight" and not ours.endswith("norm")
                pairs.append((f"blocks.{layer}.{ours}.{kind}", f"transformer.h.{layer}.{theirs}.{kind}", turned))
    return pairs


def _gpt2_out(weights: Weights, config: TransformerConfig) -> Weights:
    return {theirs: weights[ours].t() if turned else weights[ours] for ours, theirs, turned in _gpt2_pairs(config)}


def _gpt2_in(weights: Weights, config: TransformerConfig) -> Weights:
    # The published GPT-2 folders leave out the `transformer.` that GPT2LMHeadModel writes.
    full = {name if name.startswith("transformer.") else f"transformer.{name}": w for name, w in weights.items()}
    pairs = _gpt2_pairs(config)
    return {ours: full[theirs].t().contiguous() if turned else full[theirs] for ours, theirs, turned in pairs}


# --- Qwen3 -----------------------------------------------------------------------------------

QWEN3_NAMES = {
    "attention_norm": "input_layernorm",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "attention.out": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn.down": "mlp.down_proj",
}


def _qwen3_expresses(c: TransformerConfig) -> bool:
    parts = (c.activation, c.norm, c.positions, c.qk_norm, c.bias, c.logit_softcap)
    return _usual_decoder(c) and parts == ("swiglu", "rmsnorm", "rope", True, False, None)


def _qwen3_config_out(c: TransformerConfig) -> dict[str, Any]:
    return {
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "hidden_size": c.width,
        "head_dim": c.head_width,
        "intermediate_size": c.ffn_width,
        "max_position_embeddings": c.context,
        "rope_theta": c.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_theta},
        "hidden_act": "silu",
        "rms_norm_eps": c.norm_eps,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
    }


def _qwen3_config_in(d: dict[str, Any]) -> TransformerConfig:
    _refuse(d, {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False, "rope_scaling": None})
    # Folders older than transformers 5 have `rope_theta` beside `rope_scaling`, newer ones `rope_parameters`.
    rope = d.get("rope_parameters") or {}
    _refuse(rope, {"rope_type": "default"})
    return TransformerConfig(
        vocab_size=d["vocab_size"],
        context=d["max_position_embeddings"],
        layers=d["num_hidden_layers"],
        heads=d["num_attention_heads"],
        kv_heads=d["num_key_value_heads"],
        width=d["hidden_size"],
        head_width=d.get("head_dim", 128),
        ffn_width=d["intermediate_size"],
        activation="swiglu",
        norm="rmsnorm",
        positions="rope",
        rope_theta=rope.get("rope_theta") or d.get("rope_theta", 10_000.0),
        qk_norm=True,
        bias=False,
        tie_embeddings=d.get("tie_word_embeddings", False),
        norm_eps=d["rms_norm_eps"],
    )


def _qwen3_plain(config: TransformerConfig) -> dict[str, str]:
    """Names of the tensors that are the same in both, ours to theirs."""
    names = {"embedding.weight": "model.embed_tokens.weight", "final_norm.weight": "model.norm.weight"}
    if not config.tie_embeddings:
        names["head.weight"] = "lm_head.weight"
    for layer in range(config.layers):
        for ours, theirs in QWEN3_NAMES.items():
            names[f"blocks.{layer}.{ours}.weight"] = f"model.layers.{layer}.{theirs}.weight"
    return names


def _qwen3_fused(config: TransformerConfig) -> dict[str, tuple[list[str], list[int]]]:
    """Our fused matrices: the parts they are in Qwen3, and the rows of each."""
    query, key = config.heads * config.head_width, config.kv_heads * config.head_width
    fused = {}
    for layer in range(config.layers):
        base = f"model.layers.{layer}"
        projections = [f"{base}.self_attn.{part}_proj.weight" for part in "qkv"]
        fused[f"blocks.{layer}.attention.qkv.weight"] = (projections, [query, key, key])
        gated = [f"{base}.mlp.{part}_proj.weight" for part in ("gate", "up")]
        fused[f"blocks.{layer}.ffn.up.weight"] = (gated, [config.ffn_width] * 2)
    return fused


def _qwen3_out(weights: Weights, config: TransformerConfig) -> Weights:
    named = {theirs: weights[ours] for ours, theirs in _qwen3_plain(config).items()}
    for ours, (parts, rows) in _qwen3_fused(config).items():
        named.update(zip(parts, torch.split(weights[ours], rows), strict=True))
    return named


def _qwen3_in(weights: Weights, config: TransformerConfig) -> Weights:
    named = {ours: weights[theirs] for ours, theirs in _qwen3_plain(config).items()}
    for ours, (parts, _) in _qwen3_fused(config).items():
        named[ours] = torch.cat([weights[part] for part in parts])
    return named


# --- any other mixture -----------------------------------------------------------------------


FORJA_CLASSES: dict[Architecture, str] = {
    "decoder": "ForjaForCausalLM",
    "encoder": "ForjaForMaskedLM",
    "encoder-decoder": "ForjaForSeq2SeqLM",
}


def _forja_config_in(d: dict[str, Any]) -> TransformerConfig:
    given = d["transformer"]
    names = {field.name: field.default is MISSING for field in fields(TransformerConfig)}
    return TransformerConfig(**{name: given[name] for name, needed in names.items() if needed or name in given})


def _forja_out(weights: Weights, config: TransformerConfig) -> Weights:
    return {f"transformer.{name}": tensor for name, tensor in weights.items()}


def _forja_in(weights: Weights, config: TransformerConfig) -> Weights:
    return {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}


FAMILIES = (
    Family(
        "gpt2",
        lambda config: "GPT2LMHeadModel",
        _gpt2_expresses,
        _gpt2_config_out,
        _gpt2_config_in,
        _gpt2_out,
        _gpt2_in,
    ),
    Family(
        "qwen3",
        lambda config: "Qwen3ForCausalLM",
        _qwen3_expresses,
        _qwen3_config_out,
        _qwen3_config_in,
        _qwen3_out,
        _qwen3_in,
    ),
    Family(
        "forja",
        lambda config: FORJA_CLASSES[config.architecture],
        lambda config: True,
        lambda config: {
            "transformer": asdict(config),
            "is_encoder_decoder": config.architecture == "encoder-decoder",
        },
        _forja_config_in,
        _forja_out,
        _forja_in,
    ),
)
