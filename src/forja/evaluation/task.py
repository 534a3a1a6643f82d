"""What an evaluation task is given and what it gives back: figures with intervals, details, and predictions, as one
JSON a task. The tasks themselves are in `tasks/`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from forja.run import complete_or_absent, write_json_atomic

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from forja.models.transformer import Transformer
    from forja.tokens.bpe import Tokenizer


@dataclass(frozen=True)
class Figure:
    """A figure and the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TaskResult:
    """What a task came to. items: how many were scored; predictions: a mapping an item, in the order of the data."""

    task: str
    kind: str
    items: int
    figures: Mapping[str, Figure]
    details: Mapping[str, Any] = field(default_factory=dict)
    predictions: Sequence[Mapping[str, Any]] = ()


class Classifier(Protocol):
    """A fine-tuned classifier."""

    labels: list[str]

    def scores(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Probabilities, (texts, classes), columns in the order of `labels`."""


class Continue(Protocol):
    """The continuation of a text, piece by piece: the work of a later room, handed down."""

    def __call__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        prompt: str,
        *,
        max_tokens: int,
        temperature: float,
        top_k: int,
        seed: int | None,
    ) -> Iterator[str]: ...


@dataclass(frozen=True)
class Subject:
    """Who is examined. folder: of the run; language_model, classifier: load it as one or the other, once, and raise
    ForjaError where it is none; continue_text: see `Continue`."""

    folder: Path
    seed: int
    language_model: Callable[[], tuple[Transformer, Tokenizer]]
    classifier: Callable[[], Classifier]
    continue_text: Continue


def as_json(result: TaskResult) -> dict[str, Any]:
    """The result without its predictions, as its file holds it; what is no number is null."""
    whole = {
        "task": result.task,
        "kind": result.kind,
        "items": result.items,
        "figures": {name: asdict(figure) for name, figure in result.figures.items()},
        "details": dict(result.details),
    }
    return dict(as_finite(whole))


def as_finite(value: Any) -> Any:
    """The value as JSON can hold it: figures as mappings, and null for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): as_finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [as_finite(member) for member in value]
    if isinstance(value, Figure):
        return as_finite(asdict(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_result(result: TaskResult, folder: Path) -> None:
    """Write folder/<task>.json and, where there are any, folder/<task>.predictions.jsonl, complete or not at all."""
    place = folder / f"{result.task}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    predictions = folder / f"{result.task}.predictions.jsonl"
    if result.predictions:
        with complete_or_absent(predictions) as aside, open(aside, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(as_finite(row), ensure_ascii=False) + "\n" for row in result.predictions)
    else:
        predictions.unlink(missing_ok=True)
    write_json_atomic(place, as_json(result))
