"""What is measured of a model that is no decoder: how unsure it is of the tokens hidden from it, of a held-out split.

A slot always hides the same tokens, whatever the run's seed, so that runs compare. Sentinels are no text and are
left out, so that models that only count are measured on the same tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from forja.evaluation.baselines import Baselines
from forja.models.transformer import Transformer
from forja.progress import Bar
from forja.tokens.corruption import Controls, objective_slots, read_controls
from forja.tokens.loader import Ids, TokenSplit
from forja.training.objectives import OBJECTIVES
from forja.training.rules import to_device


class Hidden(NamedTuple):
    """Nats of all hidden tokens: the model's and the counting ones'; bigram: None where the token before one may be
    hidden with it. tokens: how many there are."""

    model: float
    unigram: float
    bigram: float | None
    tokens: int


@torch.inference_mode()
def score_hidden(
    model: Transformer,
    split: TokenSplit,
    slots: Ids,
    objective: str,
    tokens_folder: Path,
    counted: Baselines,
    *,
    batch: int = 16,
    bar: Bar | None = None,
) -> Hidden:
    """Over these slots, `batch` at a time. Raises ForjaError for tokens that cannot serve the objective."""
    model.eval()
    controls = read_controls(tokens_folder)
    device = model.unembedding.device
    nats, unigram, bigram, tokens = 0.0, 0.0, 0.0, 0
    for first in range(0, len(slots), batch):
        part = _text_alone(objective_slots(split, slots[first : first + batch], objective, tokens_folder), controls)
        with torch.autocast(device.type, enabled=False):
            nats += float(OBJECTIVES[objective](model, to_device(part, device)).sums.double().sum())
        chosen = (part.targets >= 0).numpy()
        targets = part.targets.numpy()[chosen]
        unigram -= float(np.log(counted.unigram.probability(targets)).sum())
        if objective == "prefix":
            bigram -= float(np.log(counted.bigram.probability(_before(part)[chosen], targets)).sum())
        tokens += len(targets)
        if bar is not None:
            bar.advance(len(part.slots))
    return Hidden(nats, unigram, bigram if objective == "prefix" else None, tokens)


def _text_alone(batch: Any, controls: Controls) -> Any:
    """The batch with no target but tokens of texts that were not erased, each counting alike."""
    targets: Tensor = batch.targets
    named = (targets >= controls.first_sentinel) & (targets < controls.first_sentinel + controls.sentinels)
    gone = named if batch.weights is None else named | (batch.weights == 0)
    return batch._replace(targets=targets.masked_fill(gone, -1), weights=None)


def _before(batch: Any) -> Ids:
    """The token before each target, (sequences, time); before the first, the source's last."""
    tokens: Ids = torch.cat((batch.source[:, -1:], batch.inputs[:, 1:]), dim=1).numpy()
    return tokens
