"""Perplexity a token and bits a byte of any texts, document by document, by source, domain and language.

A run's own held-out tokens, in one stream, are measured in `evaluation/perplexity.py`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from forja.corpus.rows import KINDS, read_rows
from forja.errors import ForjaError
from forja.evaluation.bootstrap import Metric, intervals
from forja.evaluation.groups import Places, by_group
from forja.evaluation.likelihood import text_nats
from forja.evaluation.task import Subject, TaskResult

GROUPS = ("source", "domain", "lang")
PARAGRAPHS = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(frozen=True)
class _Document:
    """groups: what it says of its source, domain and language; row: its place in its file, from 1."""

    text: str
    row: int
    groups: Mapping[str, str]


def evaluate(subject: Subject, data: Sequence[Path]) -> TaskResult:
    """`language` over files of rows that have a `text`, and over the paragraphs of any other file of text.

    Every document is scored after end-of-text, whole however long it is; intervals are over documents. source: as the
    row says, or the file's name. Raises ForjaError for a file without text, and for a model that is no decoder.
    """
    documents: list[_Document] = []
    removed: Counter[str] = Counter()
    for path in data:
        for document in _documents(path):
            if document.text.strip():
                documents.append(document)
            else:
                removed["empty"] += 1
    if not documents:
        raise ForjaError("these files hold no text.", where=", ".join(map(str, data)))
    scored = text_nats(*subject.language_model(), [document.text for document in documents], title="scoring documents")
    nats = np.array([one.nats for one in scored])
    tokens, sizes = (np.array([getattr(one, name) for one in scored]) for name in ("tokens", "bytes"))

    def metrics_of(own: Places) -> Mapping[str, Metric]:
        return _metrics(nats[own], tokens[own], sizes[own])

    keys = {name: [document.groups.get(name, "") for document in documents] for name in GROUPS}
    groups = {name: by_group(own, metrics_of) for name, own in keys.items() if any(own)}
    details = {
        "groups": groups,
        "tokens": int(tokens.sum()),
        "bytes": int(sizes.sum()),
        "removed": dict(removed),
    }
    predictions = [
        {**document.groups, "row": document.row, "nats": one.nats, "tokens": one.tokens, "bytes": one.bytes}
        for document, one in zip(documents, scored, strict=True)
    ]
    figures = intervals(len(documents), _metrics(nats, tokens, sizes))
    return TaskResult("language", "language", len(documents), figures, details, predictions)


def _metrics(
    nats: npt.NDArray[np.float64], tokens: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> dict[str, Metric]:
    """Of all tokens, or bytes, of the documents drawn together: a long document counts for more than a short one."""
    return {
        "perplexity": lambda places: math.exp(min(float(nats[places].sum() / tokens[places].sum()), 700.0)),
        "bits_per_byte": lambda places: float(nats[places].sum() / math.log(2) / sizes[places].sum()),
    }


def _documents(path: Path) -> Iterator[_Document]:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    name = path.name.split(".")[0]
    if not suffixes or suffixes[-1] not in KINDS:
        paragraphs = PARAGRAPHS.split(_read_text(path))
        yield from (_Document(text, number, {"source": name}) for number, text in enumerate(paragraphs, 1))
        return
    for row in read_rows(path):
        text = row.fields.get("text")
        if (text is not None and not isinstance(text, str)) or "text" not in row.fields:
            raise ForjaError(
                "this row has no text.", where=f"{path}, row {row.number}", fix="Name the column of texts `text`."
            )
        said = {group: str(row.fields[group]) for group in GROUPS if row.fields.get(group) not in (None, "")}
        yield _Document(text or "", row.number, {"source": name, **said})


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ForjaError("the file is not UTF-8 text.", where=str(path), fix="Save it as UTF-8.") from None
    except OSError as error:
        raise ForjaError(f"the file cannot be read ({error.strerror}).", where=str(path)) from None
