"""The transformer's own promises: causality, the cache, initialisation, and the counts it reports."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.models.presets import resolve_config
from forja.models.transformer import KVCache, Transformer
from forja.recipe import ModelSection

MIXES = {
    "gpt2": {"preset": "gpt2"},
    "modern": {"preset": "modern", "kv_heads": 2},
    "relu2": {"preset": "modern", "activation": "relu2", "norm": "layernorm"},
    "rotary": {"preset": "gpt2", "positions": "rope", "qk_norm": True, "bias": False, "tie_embeddings": False},
}


def model_of(mix: str, context: int = 24) -> Transformer:
    """All weights random, so that no part hides behind a zero."""
    section = ModelSection.model_validate({"layers": 2, "heads": 4, "width": 32, **MIXES[mix]})
    model = Transformer(resolve_config(section, vocabulary=100, context=context))
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2, generator=source)
    return model.eval()


MODELS = {mix: model_of(mix) for mix in MIXES}
TOKENS = torch.randint(0, 100, (2, 24), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mix", MIXES)
@settings(max_examples=10, deadline=None)
@given(cuts=st.sets(st.integers(1, 23)))
def test_however_the_tokens_are_fed_the_cache_gives_the_whole_forward(mix: str, cuts: set[int]) -> None:
    model = MODELS[mix]
    edges = [0, *sorted(cuts), 24]
    cache = KVCache(model.config, 2)
    with torch.no_grad():
        parts = [model(TOKENS[:, a:b], cache=cache) for a, b in pairwise(edges)]
        assert torch.allclose(torch.cat(parts, dim=1), model(TOKENS), atol=1e-4)


@pytest.mark.parametrize("mix", MIXES)
def test_no_token_sees_a_later_one(mix: str) -> None:
    changed = TOKENS.clone()
    changed[:, 12:] = 7
    with torch.no_grad():
        before, after = MODELS[mix](TOKENS), MODELS[mix](changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


@pytest.mark.parametrize("mix", MIXES)
def test_the_order_of_earlier_tokens_matters(mix: str) -> None:
    swapped = TOKENS[:, [1, 0, *range(2, 24)]]
    with torch.no_grad():
        assert not torch.allclose(MODELS[mix](TOKENS)[:, -1], MODELS[mix](swapped)[:, -1], atol=1e-5)


@pytest.mark.parametrize("mix", MIXES)
def test_the_blocked_kernel_gives_the_same_hidden_states_and_gradients(mix: str) -> None:
    results = []
    for kernel in ("fused", "blocked"):
        model = model_of(mix)
        model.use_attention(kernel)
        hidden = model(TOKENS)
        hidden.square().mean().backward()
        results.append([hidden, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("mix", MIXES)
def test_the_seed_alone_decides_the_first_weights(mix: str) -> None:
    model, again, other = (model_of(mix) for _ in range(3))
    model.init_weights(1)
    torch.manual_seed(99)
    again.init_weights(1)
    other.init_weights(2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(model.embedding.weight, other.embedding.weight)


def test_gpt2_starts_near_a_uniform_guess_and_modern_as_the_identity() -> None:
    gpt2, modern = model_of("gpt2"), model_of("modern")
    for model in (gpt2, modern):
        model.init_weights(0)
        logits = model.logits(model(TOKENS))[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())
        assert loss.item() == pytest.approx(math.log(128), abs=0.3)  # 100 tokens are padded to 128 rows
    block = modern.blocks[0]
    assert block.attention.out.weight.abs().max() == 0
    assert block.ffn.down.weight.abs().max() == 0
    assert gpt2.blocks[0].ffn.down.weight.std().item() == pytest.approx(0.02 / 2, rel=0.1)


def test_too_many_tokens_are_refused_not_wrapped() -> None:
    model = MODELS["gpt2"]
    with pytest.raises(ValueError, match="room for 24"):
        model(torch.zeros(1, 25, dtype=torch.int64))
    with pytest.raises(ValueError, match="room for 4"):
        model(TOKENS[:, :5], cache=KVCache(model.config, 2, capacity=4))


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        # GPT-2 small as published, 124,439,808, and 47 more rows of vocabulary.
        ("gpt2", 124_439_808 + 47 * 768),
        # Embedding; a layer's qkv, out, gate and up, down, two norms and the two of queries and keys; the last norm.
        ("modern", 50_304 * 768 + 12 * (4 * 768**2 + 3 * 2048 * 768 + 2 * 768 + 2 * 64) + 768),
    ],
)
def test_the_124m_presets_have_the_size_counted_by_hand(preset: str, parameters: int) -> None:
    with torch.device("meta"):
        model = Transformer(resolve_config(ModelSection(preset=preset), vocabulary=50_304, context=1024))
    assert model.num_parameters() == parameters
    body = parameters - (1024 * 768 if preset == "gpt2" else 0)
    assert model.flops_per_token() == 6 * body + 12 * 12 * 768 * 1024


def test_embeddings_that_are_only_looked_up_count_for_no_flops() -> None:
    with torch.device("meta"):
        tied, untied = (
            Transformer(resolve_config(ModelSection(tie_embeddings=tie), vocabulary=50_304, context=1024))
            for tie in (True, False)
        )
    assert untied.num_parameters() == tied.num_parameters() + 50_304 * 768
    assert untied.flops_per_token() == tied.flops_per_token()


def test_a_soft_cap_bounds_the_logits() -> None:
    model = Transformer(replace(MODELS["modern"].config, logit_softcap=2.0))
    logits = model.logits(100 * torch.randn(3, 32))
    assert logits.abs().max() <= 2.0


@pytest.mark.parametrize("mix", ["gpt2", "modern"])
def test_the_model_is_one_graph(mix: str) -> None:
    """What torch.compile needs; the graph is run as it is, as compiling takes long."""
    graph = torch.compile(MODELS[mix], backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(graph(TOKENS), MODELS[mix](TOKENS), atol=1e-5)
