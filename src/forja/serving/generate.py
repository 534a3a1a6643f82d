"""Text from a model, token by token: sampling, stop texts, and a key-value cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from forja.errors import ForjaError
from forja.models.transformer import Transformer
from forja.tokens.bpe import Tokenizer

ENDS = ("<|endoftext|>", "<|end|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<end_of_turn>", "<eos>")
"""Control tokens that end a text or a turn: Forja's own, and those of the families that are fine-tuned."""


@torch.inference_mode()
def generate(
    model: Transformer,
    tokens: Sequence[int],
    *,
    max_tokens: int,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    stop_ids: frozenset[int] = frozenset(),
    banned: Tensor | None = None,
    source: Sequence[int] | None = None,
) -> Iterator[int]:
    """Up to `max_tokens` ids that continue `tokens`, ending before the first of `stop_ids`.

    source: what an encoder-decoder's encoder reads.

    temperature 0 takes the likeliest; top_k 0 and top_p 1 leave all tokens in; banned: (vocabulary,)
    bool, tokens never taken. The same seed gives the same ids; without one, each call differs. Raises
    ValueError for no tokens, and ForjaError where the model gives no numbers.
    """
    if not tokens:
        raise ValueError("there must be a token to continue")
    model.eval()
    weight = model.unembedding
    draws = torch.Generator()
    draws.manual_seed(seed) if seed is not None else draws.seed()
    context = model.config.context
    seen = list(tokens)
    fresh = seen[-context:]
    cache = model.room(len(fresh) + max_tokens)
    read = {} if source is None else {"memory": model.encode(torch.tensor([source], device=weight.device))}
    for _ in range(max_tokens):
        if cache.length + len(fresh) > context:
            # Positions are used up: go on from the last half of the context, read again from its start.
            fresh = seen[-(context // 2) :]
            cache = model.room(context)
        hidden = model(torch.tensor([fresh], device=weight.device), cache=cache, **read)[0, -1]  # (width,)
        logits = model.logits(hidden).float().cpu()  # (vocabulary,)
        if banned is not None:
            logits[banned] = -torch.inf
        token = _choose(logits, temperature, top_k, top_p, draws)
        if token in stop_ids:
            return
        yield token
        seen.append(token)
        fresh = [token]


def _choose(logits: Tensor, temperature: float, top_k: int, top_p: float, source: torch.Generator) -> int:
    """One token from (vocabulary,) logits."""
    best = logits.max()
    if not best.isfinite():
        raise ForjaError("the model gives no number for the next token: its weights are damaged or it has diverged.")
    if temperature == 0:
        return int(logits.argmax())
    # The likeliest is put at zero first, so that no temperature, however small, overflows.
    logits = (logits - best) / temperature
    if 0 < top_k < len(logits):
        logits[logits < logits.topk(top_k).values[-1]] = -torch.inf
    probabilities = logits.softmax(dim=0)
    if top_p < 1:
        # Nucleus sampling (Holtzman et al. 2020, section 3.1): the fewest tokens whose mass reaches top_p.
        ordered, order = probabilities.sort(descending=True)
        outside = ordered.cumsum(dim=0) - ordered >= max(top_p, 1e-9)
        probabilities[order[outside]] = 0
    return int(torch.multinomial(probabilities, 1, generator=source))


def stream_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_tokens: int,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """The continuation of a text, piece by piece as it becomes certain, ending before any `stop` text."""
    ids = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    yield from _stream(model, tokenizer, ids, max_tokens, temperature, top_k, top_p, seed, stop)


def chat_reply(
    model: Transformer,
    tokenizer: Tokenizer,
    messages: list[dict[str, str]],
    *,
    max_tokens: int,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    encode: Callable[[list[dict[str, str]]], list[int]] | None = None,
) -> Iterator[str]:
    """The next reply of a conversation (`role` user or assistant, `content`).

    encode: how a model that was tuned to chat reads one, up to where its reply begins. One that was not is given a
    plain transcript to continue, as it knows no chat roles.
    """
    room = max(8, model.config.context - max_tokens)
    if encode is not None:
        ids = encode(messages)[-room:]
        yield from _stream(model, tokenizer, ids, max_tokens, temperature, top_k, top_p, seed, ())
        return
    names = {"user": "User", "assistant": "Assistant", "system": "System"}
    transcript = "".join(f"{names[message['role']]}: {message['content'].strip()}\n" for message in messages)
    ids = [tokenizer.end_of_text, *tokenizer.encode(transcript + "Assistant:")[-room:]]
    stop = ("\nUser:", "\nAssistant:", "\nSystem:")
    yield from _stream(model, tokenizer, ids, max_tokens, temperature, top_k, top_p, seed, stop)


def _stream(
    model: Transformer,
    tokenizer: Tokenizer,
    ids: list[int],
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | None,
    stop: Sequence[str],
) -> Iterator[str]:
    source = None
    if model.config.architecture == "encoder":
        raise ForjaError("this model is an encoder: it fills in masked tokens, and continues no text.")
    if model.config.architecture == "encoder-decoder":  # the continuation of its source, begun as in training
        pad = tokenizer.control("<|pad|>")
        assert pad is not None
        source, ids = ids[-model.config.context :], [pad]
    decoder = tokenizer.stream_decoder()
    held = ""
    ends = frozenset(token for name in ENDS if (token := tokenizer.control(name)) is not None)
    new = generate(
        model,
        ids,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop_ids=ends,
        banned=_not_text(model, tokenizer, ends),
        source=source,
    )
    for token in new:
        held += decoder.push(token)
        found = [place for text in stop if text and (place := held.find(text)) >= 0]
        if found:
            yield held[: min(found)]
            return
        keep = _could_begin_a_stop(held, stop)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    held += decoder.finish()
    if held:
        yield held


def _not_text(model: Transformer, tokenizer: Tokenizer, ends: frozenset[int]) -> Tensor:
    """(vocabulary,) bool: padding rows and control tokens, the ends of a text left out."""
    banned = torch.zeros(model.config.vocab_size, dtype=torch.bool)
    banned[tokenizer.vocab_size :] = True
    banned[sorted(tokenizer.reserved - ends)] = True
    return banned


def _could_begin_a_stop(held: str, stop: Sequence[str]) -> int:
    """How many last characters of `held` may be the beginning of a stop text."""
    longest = 0
    for text in stop:
        for size in range(min(len(text) - 1, len(held)), longest, -1):
            if held.endswith(text[:size]):
                longest = size
                break
    return longest
