"""How likely a model holds a text, or a continuation of one: what tasks that never train the model are scored by.

Everything is computed in float32. Perplexity of a run's own held-out tokens is in `perplexity.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from forja.errors import ForjaError
from forja.evaluation.perplexity import overlapping_windows
from forja.models.transformer import Transformer
from forja.progress import progress
from forja.tokens.bpe import Tokenizer
from forja.training.objectives import chunk_rows

TOKENS_A_BATCH = 4096


@dataclass(frozen=True)
class Scored:
    """Nats of some tokens, all together, and how many tokens and UTF-8 bytes they are.

    bytes: of the whole text where only some of its places are scored; greedy: whether each token is the likeliest in
    its place; unseen: tokens that did not fit into the context; whole: false where some of the scored text itself did
    not fit, and is in none of these figures.
    """

    nats: float
    tokens: int
    bytes: int
    greedy: bool
    unseen: int = 0
    whole: bool = True


class _Piece(NamedTuple):
    """inputs: token ids; targets: what follows each of the last len(targets) inputs."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


def continuation_nats(
    model: Transformer,
    tokenizer: Tokenizer,
    requests: Sequence[tuple[str, str]],
    *,
    tokens_a_batch: int = TOKENS_A_BATCH,
    title: str = "scoring",
) -> list[Scored]:
    """Nats of each continuation given the context before it; requests: (context, continuation).

    Context and continuation are encoded as one text, and begin with end-of-text. Scored is what comes after the
    tokens that they share with the context encoded alone: a token across the border belongs to the continuation.
    A text longer than the model's context loses its left end. Raises ForjaError for a model that is no decoder.
    """
    _require_decoder(model)
    contexts = _encode(tokenizer, [context for context, _ in requests])
    wholes = _encode(tokenizer, [context + continuation for context, continuation in requests])
    room = model.config.context
    pieces, kept = [], []
    for alone, whole in zip(contexts, wholes, strict=True):
        first = _shared(alone, whole)
        targets = whole[max(first, len(whole) - room) :]
        pieces.append(_Piece(tuple(whole[:-1][-room:]), tuple(targets)))
        kept.append((max(0, len(whole) - 1 - room), len(targets) == len(whole) - first))
    nats, greedy = _score(model, pieces, tokens_a_batch, title)
    scored = []
    for number, ((_, continuation), (unseen, fits)) in enumerate(zip(requests, kept, strict=True)):
        scored_ids = pieces[number].targets
        size = _size(continuation if fits else tokenizer.decode(list(scored_ids)))
        scored.append(Scored(float(nats[number]), len(scored_ids), size, bool(greedy[number]), unseen, fits))
    return scored


def text_nats(
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    tokens_a_batch: int = TOKENS_A_BATCH,
    title: str = "scoring",
) -> list[Scored]:
    """Nats of each text after end-of-text; its own end is not scored. All of it is, however long: what does not fit
    the context is read in `overlapping_windows`. Raises ForjaError for a model that is no decoder."""
    _require_decoder(model)
    pieces, owners = [], []
    streams = _encode(tokenizer, texts)
    for owner, ids in enumerate(streams):
        for window in overlapping_windows(len(ids), model.config.context):
            pieces.append(_Piece(tuple(ids[window.start : window.stop]), tuple(ids[window.first : window.stop + 1])))
            owners.append(owner)
    nats, greedy = _score(model, pieces, tokens_a_batch, title)
    sums = np.bincount(owners, weights=nats, minlength=len(texts)) if owners else np.zeros(len(texts))
    missed = {owner for owner, told in zip(owners, greedy, strict=True) if not told}
    return [
        Scored(float(sums[owner]), len(ids) - 1, _size(text), owner not in missed)
        for owner, (text, ids) in enumerate(zip(texts, streams, strict=True))
    ]


def _require_decoder(model: Transformer) -> None:
    if model.config.architecture != "decoder":
        raise ForjaError(
            f"an {model.config.architecture} gives a text no probability, so there is no likelihood of one.",
            fix="This needs a run whose model is a decoder.",
        )


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [[tokenizer.end_of_text, *ids] for ids in tokenizer.encode_batch(list(texts))]


def _shared(some: Sequence[int], others: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(some), len(others)))


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


# --- pieces in batches ---------------------------------------------------------------------------


@torch.inference_mode()
def _score(
    model: Transformer, pieces: Sequence[_Piece], tokens_a_batch: int, title: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Nats of each piece's targets, summed, and whether all are the likeliest, (pieces,) each."""
    model.eval()
    readers: dict[tuple[int, ...], list[int]] = {}  # options of one token leave the same inputs: read once
    for number, piece in enumerate(pieces):
        if piece.targets:
            readers.setdefault(piece.inputs, []).append(number)
    nats, greedy = np.zeros(len(pieces)), np.ones(len(pieces), dtype=np.bool_)
    with progress(title, total=sum(map(len, readers)), unit="tokens") as bar:
        for batch in _batches(sorted(readers, key=len, reverse=True), tokens_a_batch):
            owners, found, likeliest = _score_batch(model, pieces, batch, readers)
            np.add.at(nats, owners, found)
            np.logical_and.at(greedy, owners, likeliest)
            bar.advance(sum(map(len, batch)))
    if not np.isfinite(nats).all():
        raise ForjaError(
            "the model's loss is not a number.", where="evaluate", fix="Train again with training.precision=fp32."
        )
    return nats, greedy


def _batches(inputs: Sequence[tuple[int, ...]], tokens: int) -> Iterator[list[tuple[int, ...]]]:
    """Longest first, as many as stay within `tokens` once all are as long as the first; at least one."""
    start = 0
    while start < len(inputs):
        stop = start + max(1, tokens // len(inputs[start]))
        yield list(inputs[start:stop])
        start = stop


def _score_batch(
    model: Transformer,
    pieces: Sequence[_Piece],
    batch: Sequence[tuple[int, ...]],
    readers: dict[tuple[int, ...], list[int]],
) -> tuple[list[int], NDArray[np.float64], NDArray[np.bool_]]:
    """Of each target: the piece that it is of, its nats, and whether it is the likeliest, (targets,) each.

    Logits are made of the targets' places alone. A causal model never looks at the padding on the right.
    """
    device = next(model.parameters()).device
    tokens = torch.zeros(len(batch), len(batch[0]), dtype=torch.int64)  # (batch, time)
    places: list[tuple[int, int, int, int]] = []  # row, time, target, piece
    for row, inputs in enumerate(batch):
        tokens[row, : len(inputs)] = torch.tensor(inputs)
        for number in readers[inputs]:
            targets = pieces[number].targets
            times = range(len(inputs) - len(targets), len(inputs))
            places += [(row, time, target, number) for time, target in zip(times, targets, strict=True)]
    rows, times_, aims, owners = (list(column) for column in zip(*places, strict=True))
    with torch.autocast(device.type, enabled=False):
        hidden = model(tokens.to(device))[rows, times_]  # (targets, width)
        nats, likeliest = _token_nats(model, hidden, torch.tensor(aims, device=device))
    return owners, nats, likeliest


def _token_nats(
    model: Transformer, hidden: torch.Tensor, targets: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cross entropy of each target and whether it is the argmax; hidden: (targets, width)."""
    nats, likeliest = [], []
    step = chunk_rows(model.config.vocab_size)
    for start in range(0, len(targets), step):
        logits = model.logits(hidden[start : start + step]).float()  # (rows, vocabulary)
        aims = targets[start : start + step]
        nats.append(F.cross_entropy(logits, aims, reduction="none").double().cpu().numpy())
        likeliest.append((logits.argmax(dim=-1) == aims).cpu().numpy())
    return np.concatenate(nats), np.concatenate(likeliest)


# --- encoders ------------------------------------------------------------------------------------


def pseudo_nats(
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    places: Sequence[Sequence[int]] | None = None,
    *,
    tokens_a_batch: int = TOKENS_A_BATCH,
    title: str = "scoring",
) -> list[Scored]:
    """Minus the pseudo-log-likelihood of each text (Salazar et al. 2020, section 2): each token is masked in turn
    and predicted from all others.

    places: of each text, which of its tokens are scored (from 0, as `tokenizer.encode` gives them); all by default.
    A text longer than the context loses its right end. Raises ForjaError for a model that is no encoder, and for a
    tokenizer without `<|mask|>`.
    """
    if model.config.architecture != "encoder":
        raise ForjaError("a pseudo-likelihood is of an encoder, and this model is no encoder.")
    mask = tokenizer.control("<|mask|>")
    if mask is None:
        raise ForjaError("this tokenizer has no <|mask|>, so tokens cannot be masked.")
    room = model.config.context
    streams = _encode(tokenizer, texts)
    chosen = places if places is not None else [range(len(ids) - 1) for ids in streams]
    hidden: list[tuple[int, int]] = []  # text, place in its stream
    for owner, own in enumerate(chosen):
        hidden += [(owner, place + 1) for place in own if place + 1 < room]
    hidden.sort(key=lambda pair: len(streams[pair[0]][:room]))
    nats, greedy = np.zeros(len(texts)), np.ones(len(texts), dtype=np.bool_)
    with progress(title, total=len(hidden), unit="tokens") as bar:
        for group in _of_one_length(hidden, streams, room, tokens_a_batch):
            found, likeliest = _score_masked(model, [streams[owner][:room] for owner, _ in group], group, mask)
            owners = [owner for owner, _ in group]
            np.add.at(nats, owners, found)
            np.logical_and.at(greedy, owners, likeliest)
            bar.advance(len(group))
    return [_pseudo(*parts, room) for parts in zip(nats, greedy, texts, streams, chosen, strict=True)]


def _pseudo(
    nats: np.float64, greedy: np.bool_, text: str, ids: Sequence[int], places: Sequence[int], room: int
) -> Scored:
    kept = sum(place + 1 < room for place in places)
    return Scored(float(nats), kept, _size(text), bool(greedy), max(0, len(ids) - room), kept == len(places))


def _of_one_length(
    hidden: Sequence[tuple[int, int]], streams: Sequence[Sequence[int]], room: int, tokens: int
) -> Iterator[list[tuple[int, int]]]:
    """Texts of one length at a time, so that nothing is padded: an encoder would look at padding."""
    group: list[tuple[int, int]] = []
    length = 0
    for owner, place in hidden:
        own = min(len(streams[owner]), room)
        if group and (own != length or (len(group) + 1) * own > tokens):
            yield group
            group = []
        group.append((owner, place))
        length = own
    if group:
        yield group


@torch.inference_mode()
def _score_masked(
    model: Any, texts: Sequence[Sequence[int]], group: Sequence[tuple[int, int]], mask: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    model.eval()
    device = next(model.parameters()).device
    tokens = torch.tensor(texts, device=device)  # (batch, time)
    rows, places = torch.arange(len(group)), torch.tensor([place for _, place in group])
    targets = tokens[rows, places]
    tokens[rows, places] = mask
    with torch.autocast(device.type, enabled=False):
        return _token_nats(model, model(tokens)[rows, places], targets)
