"""What presets come to, and shapes that do not fit together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.errors import RecipeError
from forja.models.presets import resolve_config
from forja.recipe import ModelSection


def test_gpt2_is_gpt2() -> None:
    config = resolve_config(ModelSection(preset="gpt2"), vocabulary=50_257, context=1024)
    assert (config.vocab_size, config.ffn_width, config.head_width) == (50_304, 3072, 64)
    assert (config.activation, config.norm, config.positions) == ("gelu", "layernorm", "learned")
    assert (config.bias, config.qk_norm, config.norm_eps) == (True, False, 1e-5)


def test_modern_is_qwen3s_mathematics() -> None:
    config = resolve_config(ModelSection(preset="modern"), vocabulary=50_304, context=1024)
    assert (config.vocab_size, config.ffn_width, config.kv_heads) == (50_304, 2048, 12)
    assert (config.activation, config.norm, config.positions) == ("swiglu", "rmsnorm", "rope")
    assert (config.bias, config.qk_norm, config.norm_eps) == (False, True, 1e-6)


def test_a_key_given_beside_the_preset_wins() -> None:
    section = ModelSection(preset="modern", bias=True, activation="relu2", norm_epsilon=1e-4, head_width=32, kv_heads=4)
    config = resolve_config(section, vocabulary=512, context=64)
    assert (config.bias, config.activation, config.norm_eps) == (True, "relu2", 1e-4)
    assert (config.head_width, config.kv_heads, config.ffn_width) == (32, 4, 4 * 768)


@given(vocabulary=st.integers(1, 300_000), width=st.integers(1, 64).map(lambda n: 12 * n))
def test_the_vocabulary_is_padded_by_less_than_64_rows(vocabulary: int, width: int) -> None:
    config = resolve_config(ModelSection(width=max(width, 12)), vocabulary=vocabulary, context=64)
    assert config.vocab_size % 64 == 0
    assert 0 <= config.vocab_size - vocabulary < 64


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"width": 100, "heads": 12}, "not a multiple of model.heads"),
        ({"heads": 12, "kv_heads": 5}, "not a multiple of model.kv_heads"),
        ({"heads": 4, "width": 64, "kv_heads": 8}, "not a multiple of model.kv_heads"),
        ({"preset": "modern", "width": 60, "heads": 4}, "even width"),
    ],
)
def test_shapes_that_do_not_fit_are_a_sentence(keys: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        resolve_config(ModelSection.model_validate(keys), vocabulary=512, context=64)
