"""From the recipe's model section to a whole configuration: what a preset means, and what fits together."""

from __future__ import annotations

from typing import Any

from forja.errors import RecipeError
from forja.models.transformer import TransformerConfig
from forja.recipe import ModelSection

PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "activation": "gelu",
        "norm": "layernorm",
        "norm_place": "pre",
        "positions": "learned",
        "qk_norm": False,
        "bias": True,
        "norm_epsilon": 1e-5,
    },
    "modern": {
        "activation": "swiglu",
        "norm": "rmsnorm",
        "norm_place": "pre",
        "positions": "rope",
        "qk_norm": True,
        "bias": False,
        "norm_epsilon": 1e-6,
    },
    "original": {
        "activation": "relu",
        "norm": "layernorm",
        "norm_place": "post",
        "positions": "sinusoidal",
        "qk_norm": False,
        "bias": True,
        "norm_epsilon": 1e-5,
    },
}
VOCABULARY_MULTIPLE = 64
"""Embedding rows are a multiple of this: products of even shape are quicker."""


def resolve_config(section: ModelSection, *, vocabulary: int, context: int) -> TransformerConfig:
    """The configuration that a preset and the keys given beside it come to.

    vocabulary: the tokenizer's entries; context: tokens a sequence. Raises RecipeError.
    """
    preset = PRESETS[section.preset]
    chosen = {key: value if (value := getattr(section, key)) is not None else preset[key] for key in preset}
    kv_heads = section.kv_heads or section.heads
    if section.head_width is None and section.width % section.heads:
        raise RecipeError(
            f"model.width ({section.width}) is not a multiple of model.heads ({section.heads}).",
            fix="Change one of them, or give model.head_width.",
        )
    head_width = section.head_width or section.width // section.heads
    if section.heads % kv_heads:
        raise RecipeError(
            f"model.heads ({section.heads}) is not a multiple of model.kv_heads ({kv_heads}).",
            fix="Change one of them.",
        )
    if chosen["positions"] == "rope" and head_width % 2:
        raise RecipeError(f"rotary positions need heads of even width; this one is {head_width}.")
    both = section.architecture == "encoder-decoder"
    if section.encoder_layers is not None and not both:
        raise RecipeError(
            f"model.encoder_layers is for an encoder-decoder, and model.architecture is {section.architecture}.",
            fix="Leave it out, or change the architecture.",
        )
    return TransformerConfig(
        vocab_size=-(-vocabulary // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE,
        context=context,
        layers=section.layers,
        heads=section.heads,
        kv_heads=kv_heads,
        width=section.width,
        head_width=head_width,
        ffn_width=section.ffn_width or _ffn_width(section.width, chosen["activation"]),
        activation=chosen["activation"],
        norm=chosen["norm"],
        positions=chosen["positions"],
        rope_theta=section.rope_theta,
        qk_norm=chosen["qk_norm"],
        bias=chosen["bias"],
        tie_embeddings=section.tie_embeddings,
        norm_eps=chosen["norm_epsilon"],
        norm_place=chosen["norm_place"],
        architecture=section.architecture,
        encoder_layers=(section.encoder_layers or section.layers) if both else 0,
    )


def _ffn_width(width: int, activation: str) -> int:
    """As many weights as 4 x width without a gate: 8/3 x width with one, rounded up to a multiple of 64."""
    return -(-8 * width // 3 // 64) * 64 if activation == "swiglu" else 4 * width
