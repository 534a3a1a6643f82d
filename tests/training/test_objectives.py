"""The chunked loss against the plain one."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

from forja.training import objectives
from forja.training.objectives import next_token, next_token_loss, sequence_to_sequence, token_losses


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, softcap: float | None) -> torch.Tensor:
    logits = hidden @ weight.t()
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(3, 7, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)
    return hidden, weight, torch.randint(0, 11, (3, 7)), torch.rand(3, 7)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.parametrize("equal", [True, False], ids=["summed", "each example weighed"])
def test_the_gradients_are_the_plain_ones(
    case: tuple[torch.Tensor, ...], softcap: float, chunk: int, equal: bool
) -> None:
    hidden, weight, targets, weights = case
    upstream = torch.full((3,), 0.5) if equal else torch.tensor([1.0, 2.0, 0.0])
    losses = next_token_loss(hidden, weight, targets, weights, softcap=softcap, chunk=chunk)
    ours = torch.autograd.grad((losses.sums * upstream).sum(), (hidden, weight))
    expected = (plain(hidden, weight, targets, softcap) * weights).sum(1)
    theirs = torch.autograd.grad((expected * upstream).sum(), (hidden, weight))
    torch.testing.assert_close(losses.sums, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses.weights, weights.sum(1))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_without_gradients_the_nats_are_the_same(case: tuple[torch.Tensor, ...]) -> None:
    hidden, weight, targets, _ = case
    with torch.no_grad():
        nats = token_losses(hidden, weight, targets, chunk=4)
    torch.testing.assert_close(nats, token_losses(hidden, weight, targets).detach(), rtol=1e-5, atol=1e-5)


def test_no_gradient_is_computed_where_none_is_wanted(
    case: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, weight, targets, _ = case
    computed: list[bool] = []

    def chunk_losses(*arguments: Any) -> Any:
        nats, slope = objectives_chunk_losses(*arguments)
        computed.append(slope is not None)
        return nats, slope

    objectives_chunk_losses = objectives._chunk_losses
    monkeypatch.setattr(objectives, "_chunk_losses", chunk_losses)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            token_losses(hidden, weight, targets)
    token_losses(hidden.detach(), weight.detach(), targets)
    token_losses(hidden, weight, targets)
    assert computed == [False, False, False, True]


def test_targets_below_zero_count_for_nothing(case: tuple[torch.Tensor, ...]) -> None:
    hidden, weight, targets, _ = case
    targets[0, 3:] = -100
    losses = next_token_loss(hidden, weight, targets)
    assert losses.weights.tolist() == [3, 7, 7]
    (slope,) = torch.autograd.grad(losses.sums.sum(), hidden)
    assert slope[0, 3:].abs().max() == 0


@pytest.mark.parametrize("without", [0, 5, 6, 18, 21])
@pytest.mark.parametrize("equal", [True, False], ids=["summed", "each token weighed"])
def test_dropping_the_rows_without_a_target_changes_no_result(
    case: tuple[torch.Tensor, ...], without: int, equal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, weight, targets, weights = case
    targets.view(-1)[torch.randperm(21)[:without]] = -1
    upstream = torch.ones(3, 7) if equal else torch.rand(3, 7)
    multiplied: list[int] = []
    all_chunks = objectives._all_chunks

    def counting(rows: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
        multiplied.append(len(rows))
        return all_chunks(rows, *arguments, **keywords)

    monkeypatch.setattr(objectives, "_all_chunks", counting)
    results = []
    for dropped in (objectives.DROPPED, 1.0):
        monkeypatch.setattr(objectives, "DROPPED", dropped)
        nats = token_losses(hidden, weight, targets, weights, softcap=2.0, chunk=4)
        results.append((nats, *torch.autograd.grad((nats * upstream).sum(), (hidden, weight))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert results[0][0].view(-1)[targets.view(-1) < 0].abs().sum() == 0
    assert multiplied[0] == (21 - without if without > 21 / 4 else 21)
    assert multiplied[-1] == 21


class Pairs(NamedTuple):
    source: torch.Tensor
    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None


class Adding(torch.nn.Module):
    """A stand-in: each token's embedding, with the mean of the source's where there is one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.unembedding = torch.nn.Parameter(torch.randn(11, 8))

    def forward(self, tokens: torch.Tensor, *, source: torch.Tensor | None = None) -> torch.Tensor:
        hidden = self.unembedding[tokens]
        return hidden if source is None else hidden + self.unembedding[source].mean(1, keepdim=True)


def test_an_encoder_decoder_is_judged_on_the_decoders_targets_given_the_source() -> None:
    model = Adding()
    batch = Pairs(torch.randint(0, 11, (3, 9)), torch.randint(0, 11, (3, 4)), torch.randint(0, 11, (3, 4)), None)
    expected = plain(model(batch.inputs, source=batch.source), model.unembedding, batch.targets, None)
    losses = sequence_to_sequence(model, batch)
    torch.testing.assert_close(losses.sums, expected.sum(1))
    assert losses.weights.tolist() == [4, 4, 4]
    weighed = sequence_to_sequence(model, batch._replace(weights=torch.tensor([[1.0, 0, 0, 1]]).repeat(3, 1)))
    torch.testing.assert_close(weighed.sums, expected[:, 0] + expected[:, 3])
    assert weighed.weights.tolist() == [2, 2, 2]
    assert not torch.allclose(losses.sums, next_token(model, batch).sums)


def test_a_hopeless_target_has_a_finite_loss() -> None:
    hidden = torch.tensor([[[200.0]]], requires_grad=True)
    losses = next_token_loss(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([[1]]))
    assert losses.sums.item() == 400.0


def test_autocast_works_in_bf16_and_gives_float32_gradients() -> None:
    hidden = torch.randn(2, 4, 8, requires_grad=True)
    weight = torch.randn(16, 8, requires_grad=True)
    targets = torch.randint(0, 16, (2, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = next_token_loss(hidden, weight, targets)
    losses.sums.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    torch.testing.assert_close(losses.sums, plain(hidden, weight, targets, None).sum(1), rtol=2e-2, atol=2e-1)
