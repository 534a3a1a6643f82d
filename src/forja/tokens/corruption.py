"""The batches of the objectives that hide part of a sequence: `masked` for an encoder, `span-corruption` and
`prefix` for an encoder-decoder. Next-token batches are the loader's own.

What is hidden of a sequence depends on the seed, the epoch and the slot alone, and not on what the sequence says:
every rank count and every resumed run hides the same, another epoch hides something else, and where a document is
erased no other sequence changes. A sequence is the first `context` tokens of its slot.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError
from forja.tokens.loader import AGAIN, Batch, Batches, Ids, TokenSplit, read_meta, read_slots, slot_rows

if TYPE_CHECKING:
    import torch

Hiding = Literal["masked", "span-corruption", "prefix"]
NOISE = 0.15
"""Of a sequence's tokens, those that are hidden; in both papers."""
MEAN_SPAN = 3
MASKED, REPLACED = 0.8, 0.1
"""Of the tokens to predict, those that become the mask and those that become a random token; the others stay."""
HELD_OUT = "held-out"
"""The seed of what is not trained on: no run's own, so that two runs are judged on the same noise."""
Flags = npt.NDArray[np.bool_]


class Controls(NamedTuple):
    """Ids of a tokenizer: those that the objectives write, and where those begin that text is made of.

    Sentinels and ordinary ids are consecutive, the ordinary ones from `first_ordinary` to `vocabulary`.
    """

    pad: int
    mask: int
    first_sentinel: int
    sentinels: int
    first_ordinary: int
    vocabulary: int


class PairBatch(NamedTuple):
    """A batch for an encoder-decoder: source: (sequences, source_time); inputs, targets: (sequences, time), the
    targets being the inputs one token on, all int64; weights: (sequences, time) or None; slots: (sequences,)."""

    source: torch.Tensor
    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None
    slots: torch.Tensor


class Corrupted:
    """The batches of an objective that hides something: those of `batches`, slot for slot."""

    def __init__(self, batches: Batches, objective: Hiding, controls: Controls) -> None:
        self.batches, self.objective, self.controls = batches, objective, controls

    def global_batch(self, step: int, rank: int = 0, world: int = 1) -> Batch | PairBatch:
        """This rank's slice of the global batch at `step`; the ranks' slices together are the batch."""
        epochs, slots = self.batches.places_at(step, rank, world)
        return corrupted(self.batches.split, epochs, slots, self.objective, self.controls, seed=self.batches.seed)


def objective_batches(batches: Batches, objective: str, tokens_folder: Path) -> Batches | Corrupted:
    """The training batches of any objective. Raises ForjaError for tokens that cannot serve it."""
    hiding = _hiding(objective)
    return batches if hiding is None else Corrupted(batches, hiding, read_controls(tokens_folder))


def objective_slots(split: TokenSplit, slots: Ids, objective: str, tokens_folder: Path) -> Batch | PairBatch:
    """The batch of these slots, (n,), for any objective, always the same: what a slot hides is fixed.

    Raises ForjaError for tokens that cannot serve it.
    """
    hiding = _hiding(objective)
    if hiding is None:
        return read_slots(split, slots)
    return corrupted(split, np.zeros_like(slots), slots, hiding, read_controls(tokens_folder), seed=HELD_OUT)


def read_controls(tokens_folder: Path) -> Controls:
    """The control ids of a tokens folder. Raises ForjaError where it does not name them."""
    meta = read_meta(tokens_folder)
    found = {name: meta.get(name) for name in Controls._fields}
    if missing := [name for name, value in found.items() if value is None]:
        raise ForjaError(
            f"these tokens name no {missing[0].replace('_', ' ')}, so they serve the objective next-token alone.",
            where=str(tokens_folder / "meta.json"),
            fix=AGAIN,
        )
    return Controls(**{name: int(value) for name, value in found.items() if value is not None})


def corrupted(
    split: TokenSplit, epochs: Ids, slots: Ids, objective: Hiding, controls: Controls, *, seed: int | str
) -> Batch | PairBatch:
    """The batch of these slots as read in these epochs, both (n,)."""
    tokens = slot_rows(split, slots)[:, :-1]
    weights = split.weights(slots, first=0)
    counted = np.ones(tokens.shape, np.float32) if weights is None else weights
    if objective == "masked":
        return _masked(tokens, counted > 0, _noise(seed, epochs, slots, 3 * split.context), slots, controls)
    if objective == "prefix":
        source, targets, counted = _halves(tokens, counted)
    else:
        source, targets, counted = _spans(tokens, counted, _noise(seed, epochs, slots, split.context), controls)
    return _pair(source, targets, counted, slots, start=controls.pad)


def _hiding(objective: str) -> Hiding | None:
    """None for next-token. Raises KeyError for what is no objective."""
    names: dict[str, Hiding | None] = {
        "next-token": None,
        "masked": "masked",
        "span-corruption": "span-corruption",
        "prefix": "prefix",
    }
    return names[objective]


def _noise(seed: int | str, epochs: Ids, slots: Ids, words: int) -> npt.NDArray[np.uint64]:
    """Random words, (n, words): Philox (Salmon et al. 2011) keyed by the seed and counting from (slot, epoch)."""
    key = np.frombuffer(hashlib.blake2b(f"noise:{seed}".encode(), digest_size=16).digest(), dtype="<u8")
    drawn = np.empty((len(slots), words), np.uint64)
    for row, (epoch, slot) in enumerate(zip(epochs.tolist(), slots.tolist(), strict=True)):
        counter = np.array([0, slot, epoch, 0], np.uint64)
        drawn[row] = np.random.Philox(key=key, counter=counter).random_raw(words)
    return drawn


def _choose(noise: npt.NDArray[np.uint64], count: int) -> Flags:
    """`count` places of each row, each set of them as likely: those of the least words, (n, places)."""
    chosen = np.zeros(noise.shape, bool)
    if count:
        np.put_along_axis(chosen, np.argpartition(noise, count - 1, axis=1)[:, :count], True, axis=1)
    return chosen


# --- masked tokens -----------------------------------------------------------------------------


def _masked(tokens: Ids, held: Flags, noise: npt.NDArray[np.uint64], slots: Ids, controls: Controls) -> Batch:
    """Masked language modelling (Devlin et al. 2019, section 3.1): tokens are predicted where they stand.

    The places are chosen first, always as many; where a control token stands or one was erased, nothing is
    predicted. tokens: (n, context); held: which are not erased; noise: (n, 3 context).
    """
    import torch

    places, kinds, fresh = np.split(noise, 3, axis=1)
    aimed = _choose(places, _hidden(tokens.shape[1])) & (tokens >= controls.first_ordinary) & held
    kind = kinds / 2.0**64
    ordinary = np.uint64(controls.vocabulary - controls.first_ordinary)
    drawn = (fresh % ordinary).astype(np.int64) + controls.first_ordinary
    inputs = np.where(aimed & (kind < MASKED), controls.mask, tokens)
    inputs = np.where(aimed & (kind >= MASKED) & (kind < MASKED + REPLACED), drawn, inputs)
    targets = np.where(aimed, tokens, -1)
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), None, torch.from_numpy(np.array(slots)))


def _hidden(context: int) -> int:
    """Tokens hidden of a sequence."""
    return max(1, round(NOISE * context))


# --- pairs -------------------------------------------------------------------------------------


def span_shape(context: int, sentinels: int) -> tuple[int, int]:
    """Tokens hidden of a sequence, and the spans that they lie in: the same for all sequences of this context.

    Spans are three tokens on average, longer where there would be too few sentinels: one ends the target.
    """
    hidden = _hidden(context)
    return hidden, max(1, min(round(hidden / MEAN_SPAN), hidden, context - hidden, sentinels - 1))


def _spans(
    tokens: Ids, counted: npt.NDArray[np.float32], noise: npt.NDArray[np.uint64], controls: Controls
) -> tuple[Ids, Ids, npt.NDArray[np.float32]]:
    """Span corruption (Raffel et al. 2020, sections 3.1.4 and 3.3.4): source, targets and the targets' weights.

    In the source a sentinel stands for each hidden span; the targets are those sentinels, each with its span
    behind it, and one sentinel more at the end. As in T5's own code both kinds of text are cut at random into as
    many spans, the hidden ones second: a sequence begins in the open and ends hidden. A sentinel counts as the
    token behind it does, the last one as the token before it. tokens: (n, context); noise: (n, context).
    """
    rows, context = tokens.shape
    hidden, spans = span_shape(context, controls.sentinels)
    open_lengths = _segments(noise[:, hidden:], context - hidden, spans)  # (n, spans)
    hidden_lengths = _segments(noise[:, :hidden], hidden, spans)
    starts = open_lengths.cumsum(axis=1) + hidden_lengths.cumsum(axis=1) - hidden_lengths  # of hidden spans
    turns = np.zeros((rows, context + 1), np.int8)
    np.put_along_axis(turns, starts, 1, axis=1)
    np.put_along_axis(turns, starts + hidden_lengths, -1, axis=1)
    is_hidden = turns[:, :-1].cumsum(axis=1) > 0  # (n, context)
    names = controls.first_sentinel + np.arange(spans + 1)

    source = tokens.copy()
    np.put_along_axis(source, starts, names[None, :-1], axis=1)
    kept = ~is_hidden
    np.put_along_axis(kept, starts, True, axis=1)
    source = source[kept].reshape(rows, context - hidden + spans)

    places = np.arange(spans + 1) + np.pad(hidden_lengths.cumsum(axis=1), ((0, 0), (1, 0)))
    is_name = np.zeros((rows, hidden + spans + 1), bool)
    np.put_along_axis(is_name, places, True, axis=1)
    targets = np.empty(is_name.shape, np.int64)
    targets[is_name] = np.tile(names, rows)
    targets[~is_name] = tokens[is_hidden]
    weights = np.zeros(is_name.shape, np.float32)
    weights[~is_name] = counted[is_hidden]
    weights[:, :-1] = np.where(is_name[:, :-1], weights[:, 1:], weights[:, :-1])
    weights[:, -1] = weights[:, -2]
    return source, targets, weights


def _segments(noise: npt.NDArray[np.uint64], items: int, segments: int) -> Ids:
    """The lengths of `segments` parts of `items`, none empty, each way to cut as likely, (n, segments)."""
    rows = len(noise)
    cuts = np.full((rows, segments + 1), items, np.int64)
    cuts[:, 0] = 0
    cuts[:, 1:-1] = np.nonzero(_choose(noise[:, : items - 1], segments - 1))[1].reshape(rows, segments - 1) + 1
    return cuts[:, 1:] - cuts[:, :-1]


def _halves(tokens: Ids, counted: npt.NDArray[np.float32]) -> tuple[Ids, Ids, npt.NDArray[np.float32]]:
    """The second half from the first (Raffel et al. 2020, section 3.3.1, "prefix language modeling")."""
    half = tokens.shape[1] // 2
    return tokens[:, :half], tokens[:, half:], counted[:, half:]


def _pair(source: Ids, targets: Ids, counted: npt.NDArray[np.float32], slots: Ids, *, start: int) -> PairBatch:
    """The decoder's inputs are the targets one token late and begin with `start`: padding, as T5's do."""
    import torch

    inputs = np.concatenate((np.full((len(targets), 1), start, np.int64), targets[:, :-1]), axis=1)
    return PairBatch(
        source=torch.from_numpy(np.ascontiguousarray(source)),
        inputs=torch.from_numpy(inputs),
        targets=torch.from_numpy(np.ascontiguousarray(targets)),
        weights=None if counted.all() else torch.from_numpy(np.ascontiguousarray(counted)),
        slots=torch.from_numpy(np.array(slots)),
    )
