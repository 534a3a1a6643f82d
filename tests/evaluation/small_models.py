"""Models small enough to make, and to teach a few sentences, in a second, and a subject to examine around one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from forja.evaluation.task import Classifier, Subject
from forja.models.presets import resolve_config
from forja.models.transformer import Architecture, Transformer
from forja.recipe import ModelSection, TokenizerSection
from forja.serving.generate import stream_text
from forja.tokens.bpe import Tokenizer, load_tokenizer, train_tokenizer
from made import sentences, write_documents

VOCABULARY = 512


def small_tokenizer(folder: Path, texts: Sequence[str] = ()) -> Tokenizer:
    """Trained on these texts and on made sentences."""
    write_documents(folder / "corpus", [*texts, *(sentences(seed, 20) for seed in range(20))])
    train_tokenizer(TokenizerSection(vocabulary=VOCABULARY), folder / "corpus", folder / "tokenizer")
    return load_tokenizer(folder / "tokenizer")


def small_model(context: int = 64, seed: int = 0, architecture: Architecture = "decoder") -> Transformer:
    section = ModelSection(preset="gpt2", layers=2, heads=2, width=32, ffn_width=64, architecture=architecture)
    model = Transformer(resolve_config(section, vocabulary=VOCABULARY, context=context))
    model.init_weights(seed)
    return model.eval()


def taught(tokenizer: Tokenizer, texts: Sequence[str], *, context: int = 64, steps: int = 80) -> Transformer:
    """A decoder that has learned these texts by heart: the loss is a plain cross entropy over each whole one."""
    model = small_model(context)
    streams = [torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)]]) for text in texts]
    assert max(ids.shape[1] for ids in streams) <= context + 1, "a text does not fit, and would not be learned whole"
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        for ids in streams:
            logits = model.logits(model(ids[:, :-1]))
            torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).backward()
        optimizer.step()
    return model.eval()


def subject_of(model: Transformer, tokenizer: Tokenizer, folder: Path) -> Subject:
    def no_classifier() -> Classifier:
        raise AssertionError("these tasks need no classifier")

    return Subject(folder, 7, lambda: (model, tokenizer), no_classifier, stream_text)
