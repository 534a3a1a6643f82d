"""Made rows of GLUE and SuperGLUE in their official layouts, and a classifier that is fitted on them in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from forja.evaluation.task import Subject


@dataclass
class Words:
    """TF-IDF under a linear layer."""

    labels: list[str]
    model: Any

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        if not self.labels:
            return np.asarray(self.model.predict(list(texts)))[:, None]
        return np.asarray(self.model.predict_proba(list(texts)))


def fit_words(
    train_texts: Sequence[str],
    train_labels: Sequence[Any],
    valid_texts: Sequence[str],
    valid_labels: Sequence[Any],
    *,
    regression: bool,
) -> Words:
    assert len(valid_texts) == len(valid_labels) > 0
    head = Ridge() if regression else LogisticRegression(C=10.0, max_iter=300)
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), head).fit(train_texts, train_labels)
    return Words([] if regression else list(head.classes_), model)


def _unasked(*_: Any, **__: Any) -> Any:
    raise AssertionError("these tasks take their classifier from `fit`")


def subject(folder: Path) -> Subject:
    """A run of which nothing but its seed is needed."""
    return Subject(folder, 0, _unasked, _unasked, _unasked)


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], *, bom: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in ([header] if header else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig" if bom else "utf-8")


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


GOOD, BAD = ["a fine film", "fine acting", "really fine work"], ["a dull film", "dull acting", "really dull work"]


def sayings(count: int) -> list[tuple[str, int]]:
    """Sentences that say `fine` (1) or `dull` (0), three of five fine, each with a number of its own."""
    return [
        (f"{(GOOD if place % 5 < 3 else BAD)[place % 3]} number{place}", int(place % 5 < 3)) for place in range(count)
    ]


NLI = ("entailment", "neutral", "contradiction")
HINTS = {"entailment": "surely", "neutral": "perhaps", "contradiction": "never"}


def write_glue(folder: Path) -> Path:
    """All eleven, of rows that the words in them decide."""
    for part, count in (("train", 40), ("dev", 20)):
        said = sayings(count)
        write_tsv(folder / "CoLA" / f"{part}.tsv", [], [("gj04", label, "*", text) for text, label in said])
        write_tsv(folder / "SST-2" / f"{part}.tsv", ["sentence", "label"], said)
        write_tsv(
            folder / "MRPC" / f"{part}.tsv",
            ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
            [(label, 1, 2, text, f'" {text}') for text, label in said],
            bom=True,
        )
        write_tsv(
            folder / "STS-B" / f"{part}.tsv",
            [
                "index",
                "genre",
                "filename",
                "year",
                "old_index",
                "source1",
                "source2",
                "sentence1",
                "sentence2",
                "score",
            ],
            [(0, "g", "f", "y", "0", "none", "none", text, text, f"{5 * label}.000") for text, label in said],
        )
        write_tsv(
            folder / "QQP" / f"{part}.tsv",
            ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
            [(0, 1, 2, text, text, label) for text, label in said],
        )
        entailed = [(0, text, f"it is {text}", "entailment" if label else "not_entailment") for text, label in said]
        write_tsv(folder / "RTE" / f"{part}.tsv", ["index", "sentence1", "sentence2", "label"], entailed)
        write_tsv(folder / "QNLI" / f"{part}.tsv", ["index", "question", "sentence", "label"], entailed)
        write_tsv(
            folder / "WNLI" / f"{part}.tsv",
            ["index", "sentence1", "sentence2", "label"],
            [(0, text, text, label) for text, label in said],
        )
    judged = [(f"a man {HINTS[NLI[place % 3]]} sleeps {place}", NLI[place % 3]) for place in range(60)]
    columns = (
        "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse"
    )
    train = [*columns.split(), "sentence1", "sentence2", "label1", "gold_label"]
    dev = [*train[:-2], "label1", "label2", "label3", "label4", "label5", "gold_label"]
    front = ["0", "1", "1n", "fiction", "( )", "( )", "(ROOT)", "(ROOT)", "A man."]
    write_tsv(folder / "MNLI" / "train.tsv", train, [(*front, text, label, label) for text, label in judged])
    for name in ("dev_matched", "dev_mismatched"):
        rows = [(*front, text, *[label] * 5, label) for text, label in judged[:30]]
        write_tsv(folder / "MNLI" / f"{name}.tsv", dev, rows)
    write_tsv(
        folder / "diagnostic" / "diagnostic-full.tsv",
        [
            "Lexical Semantics",
            "Predicate-Argument Structure",
            "Logic",
            "Knowledge",
            "Domain",
            "Premise",
            "Hypothesis",
            "Label",
        ],
        [("", "", "Negation", "", "News", "A man.", text, label) for text, label in judged[:12]],
    )
    return folder


PLACES = ["Lisbon", "Madrid", "Paris", "Vienna", "Oslo", "Rome"]


def write_superglue(folder: Path) -> Path:
    """All ten, in the same manner; the candidates of ReCoRD and COPA that are right say so."""
    for part, count in (("train", 40), ("val", 20)):
        said = sayings(count)
        write_jsonl(
            folder / "BoolQ" / f"{part}.jsonl",
            [{"question": "is it fine", "passage": text, "idx": 0, "label": bool(label)} for text, label in said],
        )
        write_jsonl(
            folder / "CB" / f"{part}.jsonl",
            [
                {"premise": "A man.", "hypothesis": f"{HINTS[NLI[place % 3]]} {place}", "label": NLI[place % 3]}
                for place in range(count)
            ],
        )
        write_jsonl(
            folder / "COPA" / f"{part}.jsonl",
            [
                {
                    "premise": f"I sat down {place}.",
                    "choice1": "It was dull." if label else "It was fine.",
                    "choice2": "It was fine." if label else "It was dull.",
                    "question": "cause" if place % 2 else "effect",
                    "label": label,
                    "idx": place,
                }
                for place, (_, label) in enumerate(said)
            ],
        )
        write_jsonl(
            folder / "MultiRC" / f"{part}.jsonl",
            [
                {
                    "idx": place,
                    "version": 1.1,
                    "passage": {
                        "text": f"The passage {place}.",
                        "questions": [
                            {
                                "question": "How was it?",
                                "idx": 0,
                                "answers": [
                                    {"text": f"{'fine' if label else 'dull'} {one}", "idx": one, "label": label}
                                    for one, label in enumerate((1, 0, 0))
                                ],
                            }
                        ],
                    },
                }
                for place in range(count)
            ],
        )
        write_jsonl(folder / "ReCoRD" / f"{part}.jsonl", [cloze(place) for place in range(count)])
        write_jsonl(
            folder / "RTE" / f"{part}.jsonl",
            [
                {"premise": "A man.", "hypothesis": text, "label": "entailment" if label else "not_entailment"}
                for text, label in said
            ],
        )
        write_jsonl(
            folder / "WiC" / f"{part}.jsonl",
            [
                {
                    "word": "film",
                    "sentence1": "A film.",
                    "sentence2": f"Films {text}",
                    "idx": 0,
                    "label": bool(label),
                    "start1": 2,
                    "end1": 6,
                    "start2": 0,
                    "end2": 5,
                    "version": 1.1,
                }
                for text, label in said
            ],
        )
        write_jsonl(
            folder / "WSC" / f"{part}.jsonl",
            [
                {
                    "text": f"Mr. Bond saw the horse: {text}, and he left.",
                    "target": {
                        "span1_index": 0,
                        "span1_text": "Mr. Bond",
                        "span2_index": 6 + len(text.split()),
                        "span2_text": "he",
                    },
                    "idx": 0,
                    "label": bool(label),
                }
                for text, label in said
            ],
        )
    write_jsonl(
        folder / "AX-b" / "AX-b.jsonl",
        [
            {
                "sentence1": "A man.",
                "sentence2": text,
                "label": "entailment" if label else "not_entailment",
                "logic": "Negation",
                "idx": 0,
            }
            for text, label in sayings(20)
        ],
    )
    write_jsonl(
        folder / "AX-g" / "AX-g.jsonl",
        [
            {
                "premise": f"{who} left.",
                "hypothesis": text,
                "label": "entailment" if label else "not_entailment",
                "idx": 2 * place + one,
                "pair_id": 500 + place,
            }
            for place, (text, label) in enumerate(sayings(10))
            for one, who in enumerate(("He", "She"))
        ],
    )
    return folder


def cloze(number: int) -> dict[str, Any]:
    """A ReCoRD row: three places, of which the one that is called fine fills the gap."""
    names = [PLACES[(number + one) % len(PLACES)] for one in range(3)]
    text, spans = "", []
    for name in [*names, names[0]]:
        text += f"{name} is a city. "
        start = len(text) - len(f"{name} is a city. ")
        spans.append({"start": start, "end": start + len(name) - 1})
    right = sorted(names)[0]
    found = text.index(right)
    answer = {"start": found, "end": found + len(right) - 1, "text": right}
    return {
        "source": "Daily mail",
        "passage": {"text": text, "entities": spans},
        "qas": [{"query": "They went to @placeholder by train.", "answers": [answer], "idx": number}],
        "idx": number,
    }
