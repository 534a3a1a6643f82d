"""What a model says to a prompt, whole: for tasks whose answers are read rather than weighed."""

from __future__ import annotations

from collections.abc import Sequence

from forja.evaluation.task import Subject
from forja.models.transformer import Transformer
from forja.tokens.bpe import Tokenizer


def answer(
    subject: Subject,
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_tokens: int,
    until: Sequence[str] = (),
    temperature: float = 0.0,
) -> str:
    """Up to `max_tokens` tokens after the prompt, ending before the first text of `until`.

    Half of the model's context is the most that an answer gets, and where prompt and answer together are longer than
    the context, the prompt loses its left end.
    """
    tokens = max(1, min(max_tokens, model.config.context // 2))
    ids = tokenizer.encode(prompt)
    kept = model.config.context - tokens - 1
    if len(ids) > kept:
        prompt = tokenizer.decode(ids[-kept:])
    said = ""
    for piece in subject.continue_text(
        model, tokenizer, prompt, max_tokens=tokens, temperature=temperature, top_k=0, seed=subject.seed
    ):
        said += piece
        ends = [place for text in until if text and (place := said.find(text)) >= 0]
        if ends:
            return said[: min(ends)]
    return said
