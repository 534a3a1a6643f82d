"""Encoders, encoder-decoders and the 2017 transformer: against torch.nn.Transformer, and what each token may see."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forja.models.presets import resolve_config
from forja.models.transformer import KVCache, Transformer
from forja.recipe import ModelSection

LAYERS, HEADS, WIDTH, FFN, VOCABULARY = 2, 4, 32, 48, 64
ORIGINAL = {"preset": "original", "architecture": "encoder-decoder", "encoder_layers": 3}
MIXES: dict[str, dict[str, Any]] = {
    "original": ORIGINAL,
    "modern": {"preset": "modern", "architecture": "encoder-decoder", "kv_heads": 2},
    "gpt2": {"preset": "gpt2", "architecture": "encoder-decoder"},
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def model_of(**keys: Any) -> Transformer:
    """All weights random, so that no part hides behind a zero or a one."""
    shape = {"layers": LAYERS, "heads": HEADS, "width": WIDTH, "ffn_width": FFN}
    model = Transformer(resolve_config(ModelSection(**{**shape, **keys}), vocabulary=VOCABULARY, context=24))
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2, generator=source).add_(1.0 if parameter.ndim == 1 else 0.0)
    return model


def test_the_original_preset_computes_what_torchs_own_transformer_does() -> None:
    """Post-norm, ReLU, sinusoidal positions, as Vaswani et al. 2017: hidden states, logits and every gradient."""
    ours = model_of(**ORIGINAL)
    theirs = nn.Transformer(WIDTH, HEADS, 3, LAYERS, FFN, dropout=0.0, activation="relu", batch_first=True)
    pairs = torch_names(ours, theirs)
    for target, source in pairs:
        with torch.no_grad():
            target.copy_(source)
    source, tokens, targets = drawn(3, 20, seed=1), drawn(3, 14, seed=2), drawn(3, 14, seed=4)
    padding = torch.arange(20) >= torch.tensor([[20], [15], [9]])
    mine = ours(tokens, source=source, mask=~padding)
    table = nn.Parameter(ours.embedding.weight.detach().clone())
    other = theirs(
        positioned(table, source),
        positioned(table, tokens),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(14),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
        tgt_is_causal=True,
    )
    assert torch.allclose(mine, other, atol=1e-5)
    logits = [ours.logits(mine), other @ table.t()]
    assert torch.allclose(*logits, atol=1e-4)
    for these in logits:
        nn.functional.cross_entropy(these.flatten(0, 1), targets.flatten()).backward()
    assert ours.embedding.weight.grad is not None
    assert table.grad is not None
    assert torch.allclose(ours.embedding.weight.grad, table.grad, atol=1e-5)
    seen = 0
    slopes = torch_names(ours, theirs, slope=True)
    for theirs_slope, ours_slope in slopes:
        assert torch.allclose(theirs_slope, ours_slope, atol=1e-5)
        seen += ours_slope.numel()
    assert seen + table.numel() == ours.num_parameters()


def positioned(table: Tensor, tokens: Tensor) -> Tensor:
    """Embeddings and positions by the paper's own formulas (sections 3.4 and 3.5), written out."""
    waves = torch.zeros(tokens.shape[1], WIDTH)
    for position in range(tokens.shape[1]):
        for pair in range(WIDTH // 2):
            angle = position / 10_000 ** (2 * pair / WIDTH)
            waves[position, 2 * pair], waves[position, 2 * pair + 1] = math.sin(angle), math.cos(angle)
    return table[tokens] * math.sqrt(WIDTH) + waves


def torch_names(ours: Transformer, theirs: nn.Transformer, slope: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Torch's parameters beside ours in torch's layout, or the gradients of both."""

    def of(module: nn.Module, name: str) -> Tensor:
        parameter = module.get_parameter(name)
        found = parameter.grad if slope else parameter
        assert found is not None
        return found

    pairs = []
    for kind in ("weight", "bias"):
        for stack, blocks, cross in ((theirs.encoder, "encoder_blocks", False), (theirs.decoder, "blocks", True)):
            for number, layer in enumerate(stack.layers):
                block = ours.get_submodule(f"{blocks}.{number}")
                pairs += [
                    (of(layer, f"self_attn.in_proj_{kind}"), of(block, f"attention.qkv.{kind}")),
                    (of(layer, f"self_attn.out_proj.{kind}"), of(block, f"attention.out.{kind}")),
                    (of(layer, f"linear1.{kind}"), of(block, f"ffn.up.{kind}")),
                    (of(layer, f"linear2.{kind}"), of(block, f"ffn.down.{kind}")),
                    (of(layer, f"norm1.{kind}"), of(block, f"attention_norm.{kind}")),
                    (of(layer, f"norm{3 if cross else 2}.{kind}"), of(block, f"ffn_norm.{kind}")),
                ]
                if cross:
                    q, kv = of(block, f"cross_attention.q.{kind}"), of(block, f"cross_attention.kv.{kind}")
                    pairs += [
                        (of(layer, f"multihead_attn.in_proj_{kind}")[:WIDTH], q),
                        (of(layer, f"multihead_attn.in_proj_{kind}")[WIDTH:], kv),
                        (of(layer, f"multihead_attn.out_proj.{kind}"), of(block, f"cross_attention.out.{kind}")),
                        (of(layer, f"norm2.{kind}"), of(block, f"cross_norm.{kind}")),
                    ]
        pairs.append((of(theirs, f"encoder.norm.{kind}"), of(ours, f"encoder_norm.{kind}")))
        pairs.append((of(theirs, f"decoder.norm.{kind}"), of(ours, f"final_norm.{kind}")))
    return pairs


@pytest.mark.parametrize("preset", ["gpt2", "modern", "original"])
def test_every_token_of_an_encoder_sees_every_other(preset: str) -> None:
    model = model_of(preset=preset, architecture="encoder").eval()
    tokens, changed = drawn(2, 24), drawn(2, 24)
    changed[:, 20] = (changed[:, 20] + 1) % VOCABULARY
    with torch.no_grad():
        moved = (model(tokens) - model(changed)).abs().amax(dim=2)
    assert (moved > 1e-6).all()


@pytest.mark.parametrize("preset", ["gpt2", "modern", "original"])
def test_padding_changes_nothing_in_an_encoder(preset: str) -> None:
    model = model_of(preset=preset, architecture="encoder").eval()
    tokens = drawn(2, 16)
    padded = torch.cat((tokens, drawn(2, 8, seed=9)), dim=1)
    mask = torch.arange(24).expand(2, 24) < 16
    with torch.no_grad():
        assert torch.allclose(model(padded, mask=mask)[:, :16], model(tokens), atol=1e-5)


@pytest.mark.parametrize("mix", MIXES)
def test_a_decoder_sees_all_of_its_source_and_none_of_its_later_tokens(mix: str) -> None:
    model = model_of(**MIXES[mix]).eval()
    source, tokens = drawn(2, 20), drawn(2, 12, seed=1)
    other_end, other_source = tokens.clone(), source.clone()
    other_end[:, 8:] = 5
    other_source[:, 19] = (source[:, 19] + 1) % VOCABULARY
    with torch.no_grad():
        plain = model(tokens, source=source)
        assert torch.equal(plain[:, :8], model(other_end, source=source)[:, :8])
        assert ((plain - model(tokens, source=other_source)).abs().amax(dim=2) > 1e-6).all()


@pytest.mark.parametrize("mix", MIXES)
def test_padding_of_the_source_changes_nothing(mix: str) -> None:
    model = model_of(**MIXES[mix]).eval()
    source, tokens = drawn(2, 10), drawn(2, 12, seed=1)
    padded = torch.cat((source, drawn(2, 5, seed=8)), dim=1)
    mask = torch.arange(15).expand(2, 15) < 10
    with torch.no_grad():
        assert torch.allclose(model(tokens, source=padded, mask=mask), model(tokens, source=source), atol=1e-5)


@pytest.mark.parametrize("mix", MIXES)
def test_a_decoder_with_a_cache_gives_the_whole_forward(mix: str) -> None:
    model = model_of(**MIXES[mix]).eval()
    source, tokens = drawn(2, 20), drawn(2, 12, seed=1)
    cache = KVCache(model.config, 2)
    with torch.no_grad():
        memory = model.encode(source)
        parts = [model(tokens[:, at : at + 4], memory=memory, cache=cache) for at in (0, 4, 8)]
        assert torch.allclose(torch.cat(parts, dim=1), model(tokens, source=source), atol=1e-4)


def test_a_source_is_asked_for_where_it_belongs_and_nowhere_else() -> None:
    with pytest.raises(ValueError, match="encoder-decoder model takes a source"):
        model_of(**ORIGINAL)(drawn(1, 4))
    with pytest.raises(ValueError, match="decoder model takes no source"):
        model_of(preset="gpt2")(drawn(1, 4), memory=torch.zeros(1, 4, WIDTH))


@pytest.mark.parametrize("kernel", ["fused", "blocked"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mix", ["decoder", *MIXES])
def test_what_is_computed_again_gives_the_same_bits(mix: str, precision: torch.dtype, kernel: Any) -> None:
    slopes = {}
    for recompute in ("none", "selective", "full"):
        model = model_of(**MIXES.get(mix, {"preset": "modern"}))
        model.use_attention(kernel)
        model.use_recompute(recompute)  # type: ignore[arg-type]
        given = {} if mix == "decoder" else {"source": drawn(2, 20)}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            hidden = model(drawn(2, 24, seed=1), **given)
        hidden.float().square().mean().backward()
        slopes[recompute] = [parameter.grad for parameter in model.parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in slopes["none"])
    for recompute in ("selective", "full"):
        for a, b in zip(slopes["none"], slopes[recompute], strict=True):
            assert torch.equal(a, b), recompute


def test_less_is_kept_for_the_backward_pass() -> None:
    kept = {}
    for recompute in ("none", "selective", "full"):
        model = model_of(preset="modern", layers=4)
        model.use_recompute(recompute)  # type: ignore[arg-type]
        saved: dict[int, int] = {}

        def pack(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            hidden = model(drawn(4, 24))
        kept[recompute] = sum(saved.values())
        hidden.sum().backward()
    assert kept["full"] < kept["none"] / 3, kept
