"""What a model knows of security: multiple-choice sets in the layouts of CyberMetric (Tihanyi et al. 2024), CTIBench
(Alam et al. 2024), SecEval (Li et al. 2023) and CyberSOCEval (Deason et al. 2025), scored by likelihood without
training, and CTIBench's questions of a free answer, whose answers are generated and read.

Which layout a file has is told from its columns.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.privacy import mask
from forja.corpus.rows import Row, read_rows
from forja.errors import ForjaError
from forja.evaluation.answers import answer
from forja.evaluation.bootstrap import Metric, intervals
from forja.evaluation.groups import Places, by_group, mean
from forja.evaluation.likelihood import Scored, continuation_nats
from forja.evaluation.task import Subject, TaskResult
from forja.models.transformer import Transformer
from forja.progress import progress
from forja.recipe import Privacy
from forja.tokens.bpe import Tokenizer

LABELLED = re.compile(r"\s*([A-Z])\s*[.):]\s*(.*)", re.DOTALL)
LETTER = re.compile(r"[A-Z]")
FREE = {
    "rcm": re.compile(r"CWE-\d+"),
    "vsp": re.compile(r"CVSS:3\.[01]/AV:[NALP]/AC:[LH]/PR:[NLH]/UI:[NR]/S:[UC]/C:[NLH]/I:[NLH]/A:[NLH]"),
    "ate": re.compile(r"T\d{4}"),
}
"""CTIBench's tasks of a free answer: how each writes an answer, which is how its files are told too."""
ANSWER_TOKENS = 96
MOST_WRONG = 12
EXCERPT = 300


@dataclass(frozen=True)
class Question:
    """labels: the options' letters; right: the places of those that are right."""

    source: str
    row: int
    text: str
    labels: tuple[str, ...]
    options: tuple[str, ...]
    right: frozenset[int]

    @property
    def chance(self) -> float:
        """How often guessing blindly finds exactly what is right, knowing how many are."""
        return 1 / math.comb(len(self.options), len(self.right))


def evaluate(subject: Subject, data: Sequence[Path]) -> list[TaskResult]:
    """`cyber-knowledge` over all multiple-choice files, and `cyber-knowledge-rcm`, `-vsp` and `-ate` over files of free
    answers. Raises ForjaError for a file of no known layout, and for a model that is no decoder.

    accuracy: the option whose own text is likeliest a byte after the question is the right one. accuracy_letter: so for
    the option's letter, after the question and all options. Where several options are right, the k likeliest must be
    the k that are right, all of them: the model is told how many to pick, as a likelihood has no natural threshold, and
    so is `chance`, which counts blind guesses by the same rule.
    """
    questions, free, removed = read_questions(data)
    if not questions and not free:
        raise ForjaError("these files hold no question.", where=", ".join(map(str, data)))
    model, tokenizer = subject.language_model()
    results = [_multiple_choice(model, tokenizer, questions, removed)] if questions else []
    return results + [_free(subject, model, tokenizer, kind, rows) for kind, rows in free.items()]


# --- reading -------------------------------------------------------------------------------------


def read_questions(data: Sequence[Path]) -> tuple[list[Question], dict[str, list[tuple[str, Row]]], Counter[str]]:
    """Questions of options, rows of free answers by their kind with the name of their set, and why how many questions
    were left out. Raises ForjaError, with the row's number."""
    questions: dict[tuple[str, tuple[str, ...]], Question] = {}
    free: dict[str, list[tuple[str, Row]]] = {}
    removed: Counter[str] = Counter()
    for path in data:
        source = path.name.split(".")[0]
        for row in read_rows(path):
            where = f"{path}, row {row.number}"
            if "Prompt" in row.fields and "Option A" not in row.fields:
                free.setdefault(_free_kind(row, where), []).append((source, row))
                continue
            question = _question(row, source, where)
            if not question.right:
                removed["no option that it has is right"] += 1
            elif (question.text, question.options) in questions:
                removed["asked before"] += 1
            else:
                questions[question.text, question.options] = question
    return list(questions.values()), free, removed


def _question(row: Row, source: str, where: str) -> Question:
    fields = row.fields
    if "solution" in fields and isinstance(fields.get("answers"), dict):  # CyberMetric
        labels, options = list(fields["answers"]), list(fields["answers"].values())
        text, right = fields.get("question"), fields["solution"]
    elif "Option A" in fields and "GT" in fields:  # CTIBench
        columns = sorted(name for name in fields if name.startswith("Option "))
        labels, options = [name.removeprefix("Option ") for name in columns], [fields[name] for name in columns]
        text, right = fields.get("Question"), fields["GT"]
    elif "choices" in fields and "answer" in fields:  # SecEval
        labels, options = _unlabelled(fields["choices"])
        text, right = fields.get("question"), fields["answer"]
    elif "options" in fields and ("correct_options" in fields or "correct_answer" in fields):  # CyberSOCEval
        labels, options = _unlabelled(fields["options"])
        text = fields.get("question", fields.get("question_text"))
        right = fields.get("correct_options", fields.get("correct_answer"))
    else:
        raise ForjaError(
            f"these columns are of no known layout: {', '.join(fields)}.",
            where=where,
            fix="Use CyberMetric's (question, answers, solution), CTIBench's (Question, Option A, ..., GT), SecEval's "
            "(question, choices, answer) or CyberSOCEval's (question, options, correct_options).",
        )
    letters = LETTER.findall(" ".join(map(str, right)) if isinstance(right, list) else str(right or "").upper())
    # CTIBench has rows of three options, the fourth column empty.
    given = {label: said for label, option in zip(labels, options, strict=True) if (said := str(option or "").strip())}
    if not isinstance(text, str) or not text.strip() or len(given) < 2:
        raise ForjaError("this row lacks a question, or two options that are not empty.", where=where)
    if strange := set(letters) - set(labels):
        raise ForjaError(
            f"the right answer is {', '.join(sorted(strange))}, and the options are {', '.join(labels)}.", where=where
        )
    places = [place for place, label in enumerate(given) if label in letters]
    whole = len(places) == len(set(letters))  # an empty option that is right leaves nothing to find
    right_places = frozenset(places if whole else [])
    return Question(source, row.number, text.strip(), tuple(given), tuple(given.values()), right_places)


def _unlabelled(options: Any) -> tuple[list[str], list[str]]:
    """Letters and texts of options such as "A. text"; by their order where they have no letters of their own."""
    texts = [str(option) for option in options] if isinstance(options, list) else []
    found = [match for match in map(LABELLED.fullmatch, texts) if match]
    if len(found) == len(texts) and len({match[1] for match in found}) == len(texts):
        return [match[1] for match in found], [match[2] for match in found]
    return [chr(ord("A") + place) for place in range(len(texts))], texts


def _free_kind(row: Row, where: str) -> str:
    given = str(row.fields.get("GT") or "")
    for kind, pattern in FREE.items():
        if pattern.match(given.strip()):
            return kind
    raise ForjaError(
        "this row's GT is no answer that can be scored.",
        where=where,
        fix="It is a CWE id, a CVSS 3 vector or ATT&CK technique ids; CTIBench's taa has no answers in its file.",
    )


# --- multiple choice -----------------------------------------------------------------------------


def _multiple_choice(
    model: Transformer, tokenizer: Tokenizer, questions: Sequence[Question], removed: Counter[str]
) -> TaskResult:
    by_text = _scored(model, tokenizer, questions, _option_requests, "options by their text")
    by_letter = _scored(model, tokenizer, questions, _letter_requests, "options by their letter")
    told = [_likeliest([one.nats / max(one.bytes, 1) for one in own], len(question.right))
            for question, own in zip(questions, by_text, strict=True)]  # fmt: skip
    told_letter = [_likeliest([one.nats for one in own], len(question.right))
                   for question, own in zip(questions, by_letter, strict=True)]  # fmt: skip
    rights = [question.right for question in questions]
    hits = {
        "accuracy": np.array([one == right for one, right in zip(told, rights, strict=True)]),
        "accuracy_letter": np.array([one == right for one, right in zip(told_letter, rights, strict=True)]),
    }

    def metrics_of(own: Places) -> dict[str, Metric]:
        return {name: mean(values[own]) for name, values in hits.items()}

    sources = [question.source for question in questions]
    chances = {
        source: float(np.mean([question.chance for question in questions if question.source == source]))
        for source in sources
    }
    groups = {
        source: {**figures, "chance": chances[source]} for source, figures in by_group(sources, metrics_of).items()
    }
    details = {
        "chance": float(np.mean([question.chance for question in questions])),
        "groups": {"set": groups},
        "several_right": sum(len(right) > 1 for right in rights),
        "shortened": sum(any(one.unseen for one in own) for own in by_letter),
        "removed": dict(removed),
        "wrong": _wrong(questions, told),
    }
    predictions = [
        {
            "set": question.source,
            "row": question.row,
            "right": _letters(question, question.right),
            "told": _letters(question, text),
            "told_letter": _letters(question, letter),
            "nats": [one.nats for one in own],
        }
        for question, text, letter, own in zip(questions, told, told_letter, by_text, strict=True)
    ]
    figures = intervals(len(questions), metrics_of(np.arange(len(questions))))
    return TaskResult("cyber-knowledge", "multiple-choice", len(questions), figures, details, predictions)


def _option_requests(question: Question) -> list[tuple[str, str]]:
    return [(f"Question: {question.text}\nAnswer:", f" {option}") for option in question.options]


def _letter_requests(question: Question) -> list[tuple[str, str]]:
    listed = "".join(f"{label}. {option}\n" for label, option in zip(question.labels, question.options, strict=True))
    return [(f"Question: {question.text}\n{listed}Answer:", f" {label}") for label in question.labels]


def _scored(
    model: Transformer, tokenizer: Tokenizer, questions: Sequence[Question], requests_of: Any, title: str
) -> list[list[Scored]]:
    """Of each question, its options in their order."""
    requests = [requests_of(question) for question in questions]
    flat = iter(continuation_nats(model, tokenizer, [one for own in requests for one in own], title=title))
    return [[next(flat) for _ in own] for own in requests]


def _likeliest(nats: Sequence[float], count: int) -> frozenset[int]:
    """The `count` options of the fewest nats; of equal ones, the first."""
    return frozenset(np.argsort(np.array(nats), kind="stable")[:count].tolist())


def _letters(question: Question, places: frozenset[int]) -> str:
    return "".join(question.labels[place] for place in sorted(places))


def _wrong(questions: Sequence[Question], told: Sequence[frozenset[int]]) -> list[dict[str, str]]:
    mistaken = [(question, own) for question, own in zip(questions, told, strict=True) if own != question.right]
    return [
        {
            "text": mask(question.text, Privacy()).text[:EXCERPT],
            "label": _said(question, question.right),
            "told": _said(question, own),
            "source": question.source,
        }
        for question, own in mistaken[:MOST_WRONG]
    ]


def _said(question: Question, places: frozenset[int]) -> str:
    return mask("; ".join(question.options[place] for place in sorted(places)), Privacy()).text[:EXCERPT]


# --- free answers --------------------------------------------------------------------------------


def _free(
    subject: Subject, model: Transformer, tokenizer: Tokenizer, kind: str, rows: Sequence[tuple[str, Row]]
) -> TaskResult:
    """Answers are generated at temperature 0. rcm: accuracy of the last CWE id said. vsp: mean absolute deviation of
    the last vector's base score, over answers that hold one, as CTIBench has it. ate: F1 of the techniques said, pooled
    over items. An answer that holds nothing of the kind is wrong, and `answered` is the share of those that do.
    """
    texts = []
    with progress(f"answers of {kind}", total=len(rows), unit="answers") as bar:
        for _, row in rows:
            prompt = f"{str(row.fields['Prompt']).strip()}\nAnswer:"
            texts.append(answer(subject, model, tokenizer, prompt, max_tokens=ANSWER_TOKENS))
            bar.advance()
    told = [FREE[kind].findall(text) for text in texts]
    right = [FREE[kind].findall(str(row.fields["GT"])) for _, row in rows]
    answered = np.array([bool(own) for own in told])
    metrics: dict[str, Metric] = {"answered": lambda places: float(answered[places].mean())}
    if kind == "ate":
        counts = np.array([[len({*one} & {*other}), len({*one}) + len({*other})]
                           for one, other in zip(told, right, strict=True)])  # fmt: skip
        metrics["f1"] = lambda places: float(2 * counts[places, 0].sum() / counts[places, 1].sum())
    else:
        errors = np.array([_error(kind, *pair) for pair in zip(told, right, strict=True)])
        name = "accuracy" if kind == "rcm" else "mean_absolute_deviation"
        metrics[name] = lambda places: _mean_of_known(errors[places])
    figures = intervals(len(rows), metrics)
    predictions = [
        {"set": source, "row": row.number, "right": right[number], "told": told[number], "text": texts[number]}
        for number, (source, row) in enumerate(rows)
    ]
    shape = "regression" if kind == "vsp" else "multiple-choice"
    return TaskResult(f"cyber-knowledge-{kind}", shape, len(rows), figures, {"groups": {}}, predictions)


def _error(kind: str, told: Sequence[str], right: Sequence[str]) -> float:
    """1 for the right CWE and 0 for another or none; of a vector, how far its score is off, not a number for none."""
    if kind == "rcm":
        return float(told[-1:] == right[:1])
    return abs(base_score(told[-1]) - base_score(right[0])) if told else math.nan


def _mean_of_known(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


WEIGHTS: dict[str, dict[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
PRIVILEGES_CHANGED = {"N": 0.85, "L": 0.68, "H": 0.5}


def base_score(vector: str) -> float:
    """The base score of a CVSS 3 vector, 0 to 10 (FIRST, CVSS 3.1 specification, sections 7.1 and 7.4)."""
    metrics = dict(part.split(":") for part in vector.split("/")[1:])
    changed = metrics["S"] == "C"
    weight = {name: values[metrics[name]] for name, values in WEIGHTS.items()}
    if changed:
        weight["PR"] = PRIVILEGES_CHANGED[metrics["PR"]]
    missed = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    impact = 7.52 * (missed - 0.029) - 3.25 * (missed - 0.02) ** 15 if changed else 6.42 * missed
    if impact <= 0:
        return 0.0
    ease = 8.22 * weight["AV"] * weight["AC"] * weight["PR"] * weight["UI"]
    return _round_up(min((1.08 if changed else 1.0) * (impact + ease), 10))


def _round_up(value: float) -> float:
    """To one decimal, upwards, without the errors of binary fractions (appendix A)."""
    whole = round(value * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10
