"""Perplexity and bits per byte: of a run's held-out documents beside n-gram baselines, and of any text.

Everything is computed in float32, whatever precision the run trained in, so that figures of two runs
compare. The baselines themselves are in `baselines.py`, and what is measured of an encoder in `hidden.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from forja.errors import ForjaError
from forja.evaluation.baselines import Baselines, count_train
from forja.evaluation.hidden import score_hidden
from forja.models.transformer import Transformer
from forja.progress import Bar, progress
from forja.recipe import EvaluationSection
from forja.run import write_json_atomic
from forja.tokens.loader import TokenSplit
from forja.training.objectives import token_losses

SPLITS = ("valid", "test")
PIECE_CHARACTERS = 1 << 20
"""Text encoded at once, so that one long line does not fill memory."""


@dataclass(frozen=True)
class SplitFigures:
    """One split's figures. Perplexities are a token's, over the same targets; end-of-text counts as a token.

    `bits_per_byte` spreads all bits, those for the ends of texts included, over the documents' UTF-8 bytes; None
    where a part of the tokens is hidden and predicted. `bigram`: None where the token before may be hidden too.
    """

    perplexity: float
    bits_per_byte: float | None
    unigram: float
    bigram: float | None
    tokens: int
    bytes: int
    documents: int


@dataclass(frozen=True)
class EvaluationFigures:
    """What the evaluate stage measured."""

    valid: SplitFigures
    test: SplitFigures
    objective: str = "next-token"


class Encoder(Protocol):
    """What is needed of a tokenizer."""

    @property
    def end_of_text(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Window:
    """Tokens [start, stop) go in; targets [first, stop] are scored, at positions in the stream."""

    start: int
    stop: int
    first: int


def evaluate_splits(
    section: EvaluationSection,
    model: Transformer,
    tokens_folder: Path,
    workspace: Path,
    *,
    objective: str = "next-token",
) -> EvaluationFigures:
    """Score the held-out splits by the objective trained for, and write `perplexity.json` into the workspace.

    At most `section.max_tokens` tokens a split, the first in the stream (documents lie in the order of
    their ids, which are digests: any first part is a fair sample). Raises ForjaError.
    """
    counted = count_train(TokenSplit.open(tokens_folder, "train"))
    measure = _evaluate_split if objective == "next-token" else partial(_evaluate_hidden, objective=objective)
    valid, test = (measure(section, model, counted, tokens_folder, split) for split in SPLITS)
    figures = EvaluationFigures(valid, test, objective)
    write_json_atomic(workspace / "perplexity.json", asdict(figures))
    return figures


def _evaluate_split(
    section: EvaluationSection, model: Transformer, counted: Baselines, tokens_folder: Path, split: str
) -> SplitFigures:
    held_out = TokenSplit.open(tokens_folder, split)
    count = min(held_out.tokens - 1, section.max_tokens)
    gone = held_out.erased(0, count + 1)
    scored = count - int(gone[1:].sum())
    if scored < 1:
        raise _empty(split)
    stream = held_out.read(0, count + 1)
    documents, size = _scored_documents(tokens_folder / f"{split}-index.parquet", count)
    windows = disjoint_windows(count + 1, model.config.context)
    with progress(f"perplexity of {split}", total=count, unit="tokens") as bar:
        nats = score(model, stream, windows, batch=section.batch, bar=bar, skip=gone)
    unigram, bigram = counted.perplexities(stream, gone)
    return SplitFigures(
        perplexity=_perplexity(nats, scored),
        bits_per_byte=_bits(nats) / size,
        unigram=unigram,
        bigram=bigram,
        tokens=scored,
        bytes=round(size),
        documents=documents,
    )


def _evaluate_hidden(
    section: EvaluationSection, model: Transformer, counted: Baselines, tokens_folder: Path, split: str, objective: str
) -> SplitFigures:
    """Over whole sequences; tokens: those that were hidden, documents and bytes: what the sequences hold."""
    held_out = TokenSplit.open(tokens_folder, split)
    sequences = min(held_out.sequences, max(1, section.max_tokens // held_out.context))
    with progress(f"perplexity of {split}", total=sequences, unit="sequences") as bar:
        slots = np.arange(sequences)
        found = score_hidden(model, held_out, slots, objective, tokens_folder, counted, batch=section.batch, bar=bar)
    if found.tokens < 1:
        raise _empty(split)
    _require_number(found.model)
    read = (sequences - 1) * (held_out.context - held_out.overlap) + held_out.context
    documents, size = _scored_documents(tokens_folder / f"{split}-index.parquet", read - 1)
    return SplitFigures(
        perplexity=_perplexity(found.model, found.tokens),
        bits_per_byte=None,
        unigram=_perplexity(found.unigram, found.tokens),
        bigram=None if found.bigram is None else _perplexity(found.bigram, found.tokens),
        tokens=found.tokens,
        bytes=round(size),
        documents=documents,
    )


def _empty(split: str) -> ForjaError:
    return ForjaError(f"the {split} split holds no document.", where="evaluate", fix=f"Raise tokens.{split}_fraction.")


def _scored_documents(index: Path, count: int) -> tuple[int, float]:
    """Documents among the first `count` targets, and their bytes; of a document cut there, a part in proportion."""
    table = pq.read_table(index, columns=["start", "length", "bytes"])
    starts, lengths, sizes = (table[name].to_numpy() for name in ("start", "length", "bytes"))
    # A target is called by its position in the stream: those at 1 to count are scored.
    part = np.clip((count + 1 - starts) / np.maximum(lengths, 1), 0.0, 1.0)
    return int((part > 0).sum()), max(1.0, float((part * sizes).sum()))


# --- scoring a stream of tokens ----------------------------------------------------------------


def disjoint_windows(length: int, context: int) -> Iterator[Window]:
    """Windows side by side over `length` tokens: each target has the context its place in the window gives."""
    for start in range(0, length - 1, context):
        yield Window(start, min(start + context, length - 1), start + 1)


def overlapping_windows(length: int, context: int) -> Iterator[Window]:
    """Windows half a context apart: each target but the first ones sees at least half a context before it."""
    scored = start = 0
    while scored < length - 1:
        stop = min(start + context, length - 1)
        yield Window(start, stop, scored + 1)
        scored = stop
        start += max(1, context // 2)


@torch.inference_mode()
def score(
    model: Transformer,
    stream: NDArray[np.int64],
    windows: Iterator[Window],
    *,
    batch: int = 16,
    bar: Bar | None = None,
    skip: NDArray[np.bool_] | None = None,
) -> float:
    """Nats of the windows' targets, summed. stream: (length,) token ids; skip: (length,), which are no targets.

    Raises ForjaError if not a number.
    """
    model.eval()
    total = 0.0
    for group in _batches(windows, batch):
        total += _score_batch(model, stream, group, skip)
        if bar is not None:
            bar.advance(sum(window.stop - window.first + 1 for window in group))
    _require_number(total)
    return total


def _require_number(nats: float) -> None:
    if not math.isfinite(nats):
        raise ForjaError(
            "the model's loss is not a number.", where="evaluate", fix="Train again with training.precision=fp32."
        )


def _batches(windows: Iterator[Window], size: int) -> Iterator[list[Window]]:
    """Up to `size` windows of one length at a time, in order."""
    group: list[Window] = []
    for window in windows:
        fits = not group or window.stop - window.start == group[0].stop - group[0].start
        if not fits or len(group) == size:
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _score_batch(
    model: Transformer, stream: NDArray[np.int64], group: Sequence[Window], skip: NDArray[np.bool_] | None
) -> float:
    device = model.unembedding.device
    inputs = torch.from_numpy(np.stack([stream[w.start : w.stop] for w in group])).to(device)  # (batch, time)
    targets = torch.from_numpy(np.stack([stream[w.start + 1 : w.stop + 1] for w in group])).to(device)
    for row, window in enumerate(group):
        targets[row, : window.first - window.start - 1] = -1  # context only
        if skip is not None:
            targets[row, torch.from_numpy(skip[window.start + 1 : window.stop + 1])] = -1
    with torch.autocast(device.type, enabled=False):
        losses = token_losses(model(inputs), model.unembedding, targets, softcap=model.config.logit_softcap)
    return float(losses.double().sum())


def _perplexity(nats: float, tokens: int) -> float:
    return math.exp(min(nats / tokens, 700.0))


def _bits(nats: float) -> float:
    return nats / math.log(2)


# --- any text ----------------------------------------------------------------------------------


def evaluate_text(model: Transformer, tokenizer: Encoder, files: Sequence[Path], *, batch: int = 8) -> dict[str, Any]:
    """Perplexity and bits per byte of text files, each on its own and all together.

    A file's first token is conditioned on end-of-text; the end of a file is not scored, as it may not
    be the end of a text. Raises ForjaError for a file that is missing, empty or not UTF-8, and for a model
    that is no decoder: it gives a text no probability.
    """
    if model.config.architecture != "decoder":
        raise ForjaError(
            f"an {model.config.architecture} gives a text no probability, so there is no perplexity of one.",
            fix="Without --text, held-out documents are scored by what the model was trained for.",
        )
    texts = {str(path): _read_text(path) for path in files}  # all are looked at before the slow part
    measured: dict[str, dict[str, Any]] = {}
    nats = 0.0
    for name, text in texts.items():
        ids = [tokenizer.end_of_text]
        for piece in pieces(text):
            ids += tokenizer.encode(piece)
        stream = np.asarray(ids, dtype=np.int64)
        with progress(f"scoring {Path(name).name}", total=len(ids) - 1, unit="tokens") as bar:
            windows = overlapping_windows(len(ids), model.config.context)
            own = score(model, stream, windows, batch=batch, bar=bar)
        nats += own
        measured[name] = _text_figures(own, len(ids) - 1, len(text.encode()))
    tokens, size = (sum(figures[key] for figures in measured.values()) for key in ("tokens", "bytes"))
    return {**_text_figures(nats, tokens, size), "files": measured}


def _text_figures(nats: float, tokens: int, size: int) -> dict[str, Any]:
    return {
        "perplexity": _perplexity(nats, tokens),
        "bits_per_byte": _bits(nats) / size,
        "tokens": tokens,
        "bytes": size,
    }


def _read_text(path: Path) -> str:
    where = str(path)
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise ForjaError("there is no such file.", where=where, fix="Check the path.") from None
    except IsADirectoryError:
        raise ForjaError("this is a folder.", where=where, fix="Name the text files in it.") from None
    except PermissionError:
        raise ForjaError("permission to read it is denied.", where=where, fix="Check who owns the file.") from None
    except UnicodeDecodeError as error:
        raise ForjaError(
            f"the file is not UTF-8 text (byte {error.start} cannot be read).",
            where=where,
            fix="Convert it first, for example with iconv -f latin1 -t utf-8.",
        ) from None
    if not text:
        raise ForjaError("the file is empty.", where=where, fix="Perplexity needs at least one character.")
    return text


def pieces(text: str, about: int = PIECE_CHARACTERS) -> Iterator[str]:
    """The text in pieces of `about` characters, cut before a space: no token crosses there, as words keep
    the space before them. Only where there is no such place nearby is a piece cut as it comes."""
    start = 0
    while start < len(text):
        stop = min(start + about, len(text))
        if stop < len(text):
            before = (end for end in range(stop, start, -1) if text[end] == " " and not text[end - 1].isspace())
            stop = next(before, stop)
        yield text[start:stop]
        start = stop
