"""Whether a language model leans on stereotypes: CrowS-Pairs (Nangia et al. 2020), Winogender schemas (Rudinger et al.
2018) and BBQ (Parrish et al. 2022; see `evaluation/bbq.py`), by the likelihood of their sentences and answers.

Which set a file is of is told from its columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import numpy.typing as npt

from forja.corpus.rows import Row, read_rows
from forja.errors import ForjaError
from forja.evaluation.bbq import COLUMNS as BBQ_COLUMNS
from forja.evaluation.bbq import score_bbq
from forja.evaluation.bootstrap import Metric, intervals
from forja.evaluation.groups import Places, Values, by_group, mean
from forja.evaluation.likelihood import pseudo_nats, text_nats
from forja.evaluation.task import Figure, Subject, TaskResult
from forja.models.transformer import Transformer
from forja.tokens.bpe import Tokenizer

COLUMNS = {
    "crows-pairs": ("sent_more", "sent_less", "bias_type"),
    "winogender": ("sentid", "sentence"),
    "bbq": BBQ_COLUMNS,
    "occupations": ("occupation", "bls_pct_female"),
}
PRONOUNS = ("male", "female", "neutral")
STATISTICS = "occupations-stats.tsv"


def evaluate(subject: Subject, data: Sequence[Path]) -> list[TaskResult]:
    """`bias-crows-pairs`, `bias-winogender` and `bias-bbq`, of those that the files are of.

    occupations-stats.tsv is read where it is among the files or beside the Winogender sentences. A decoder's sentences
    are scored whole; an encoder's by pseudo-likelihood, which BBQ's answers have none of, so BBQ is of decoders alone.
    Raises ForjaError for a file of no known layout, a row that lacks what its layout needs, and an encoder-decoder.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    for path in data:
        files[_layout(path)].append(path)
    if not files.keys() - {"occupations"}:
        raise ForjaError("these files hold no measure of bias.", where=", ".join(map(str, data)))
    model, tokenizer = subject.language_model()
    results = []
    if "crows-pairs" in files:
        results.append(_crows_pairs(model, tokenizer, files["crows-pairs"]))
    if "winogender" in files:
        beside = [path.parent / STATISTICS for path in files["winogender"]]
        tables = files["occupations"] or [path for path in dict.fromkeys(beside) if path.is_file()]
        results.append(_winogender(model, tokenizer, files["winogender"], tables))
    if "bbq" in files:
        results.append(score_bbq(model, tokenizer, _rows(files["bbq"], "bbq")))
    return results


def _layout(path: Path) -> str:
    first = next(read_rows(path), None)
    columns = first.fields.keys() if first is not None else ()
    for name, needed in COLUMNS.items():
        if set(needed) <= set(columns):
            return name
    raise ForjaError(
        f"these columns are of no known layout: {', '.join(columns) or 'there is no row'}.",
        where=str(path),
        fix="Use CrowS-Pairs (sent_more, sent_less, bias_type), Winogender's all_sentences.tsv (sentid, sentence) "
        "or BBQ's JSONL.",
    )


def _rows(paths: Iterable[Path], layout: str) -> list[tuple[str, Row]]:
    """Each with where it is, for errors."""
    found = []
    for path in paths:
        for row in read_rows(path):
            missing = [name for name in COLUMNS[layout] if row.fields.get(name) in (None, "")]
            where = f"{path}, row {row.number}"
            if missing:
                raise ForjaError(f"{missing[0]} is missing or empty.", where=where)
            found.append((where, row))
    return found


# --- CrowS-Pairs -----------------------------------------------------------------------------------


def _crows_pairs(model: Transformer, tokenizer: Tokenizer, paths: Sequence[Path]) -> TaskResult:
    """Share of pairs of which the more stereotyping sentence is the likelier, a tie counting half; 0.5 is neutral.

    An encoder's sentences are scored over the tokens that both have, each predicted from all others (section 3 of the
    paper); a decoder's over all tokens, as one that reads from the left alone cannot leave out those that differ. There
    the sentence of more tokens is the less likely one whatever it says, so `stereotype_share_same_length` is of the
    pairs alone of which as many tokens are scored.
    """
    rows = [row for _, row in _rows(paths, "crows-pairs")]
    pairs = [(str(row.fields["sent_more"]).strip(), str(row.fields["sent_less"]).strip()) for row in rows]
    more, less, alike = _pair_nats(model, tokenizer, pairs)
    leans = np.where(more == less, 0.5, (more < less).astype(np.float64))
    kinds = [str(row.fields["bias_type"]) for row in rows]
    directions = [str(row.fields.get("stereo_antistereo") or "stereo") for row in rows]
    groups = {
        "bias_type": by_group(kinds, lambda own: {"stereotype_share": mean(leans[own])}),
        "direction": by_group(directions, lambda own: {"stereotype_share": mean(leans[own])}),
    }
    predictions = [
        {"row": row.number, "bias_type": kind, "nats_more": one, "nats_less": other}
        for row, kind, one, other in zip(rows, kinds, more.tolist(), less.tolist(), strict=True)
    ]

    def same_length(places: Places) -> float:
        return mean(leans)(places[alike[places]])

    figures = intervals(len(rows), {"stereotype_share": mean(leans), "stereotype_share_same_length": same_length})
    details = {"groups": groups, "neutral": 0.5, "same_length": int(alike.sum())}
    return TaskResult("bias-crows-pairs", "bias", len(rows), figures, details, predictions)


def _pair_nats(
    model: Transformer, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]
) -> tuple[Values, Values, npt.NDArray[np.bool_]]:
    """Nats of either sentence, and whether they are of as many tokens, (pairs,) each."""
    flat = [sentence for pair in pairs for sentence in pair]
    if model.config.architecture == "encoder":
        shared = [places for pair in pairs for places in _shared_tokens(tokenizer, *pair)]
        scored = pseudo_nats(model, tokenizer, flat, shared, title="pairs of sentences")
    else:
        scored = text_nats(model, tokenizer, flat, title="pairs of sentences")
    nats = np.array([one.nats for one in scored]).reshape(-1, 2)
    tokens = np.array([one.tokens for one in scored]).reshape(-1, 2)
    return nats[:, 0], nats[:, 1], tokens[:, 0] == tokens[:, 1]


def _shared_tokens(tokenizer: Tokenizer, one: str, other: str) -> tuple[list[int], list[int]]:
    """Where in each sentence the tokens are that both have, by the longest matching blocks."""
    matcher = SequenceMatcher(None, tokenizer.encode(one), tokenizer.encode(other), autojunk=False)
    blocks = matcher.get_matching_blocks()
    return (
        [block.a + step for block in blocks for step in range(block.size)],
        [block.b + step for block in blocks for step in range(block.size)],
    )


# --- Winogender ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Schema:
    """One sentence in its three pronouns; refers_to: whom the pronoun stands for, `occupation` or `participant`."""

    occupation: str
    participant: str
    refers_to: str


def _winogender(model: Transformer, tokenizer: Tokenizer, paths: Sequence[Path], tables: Sequence[Path]) -> TaskResult:
    """female_over_male: mean nats by which the sentence with her is likelier than with him, negative where he is;
    female_share: share of sentences likelier with her; neutral_share: likelier with them than with either.

    correlation_*: Pearson's between an occupation's mean female_over_male, where the pronoun stands for the occupation,
    and the percentage of women in it: by the labour statistics of 2015 and 2016 (bls) and in text (bergsma), as in
    section 4 of the paper, which asks coreference systems. All figures but these are over sentences.
    """
    sentences = _schemas(_rows(paths, "winogender"))
    schemas = list(sentences)
    texts = [sentences[schema][pronoun] for schema in schemas for pronoun in PRONOUNS]
    score = pseudo_nats if model.config.architecture == "encoder" else text_nats
    nats = np.array([one.nats for one in score(model, tokenizer, texts, title="schemas")]).reshape(-1, 3)
    male, female, neutral = nats.T
    leans = male - female
    columns = {
        "female_over_male": leans,
        "female_share": np.where(leans == 0, 0.5, (leans > 0).astype(np.float64)),
        "neutral_share": (neutral < np.minimum(male, female)).astype(np.float64),
    }
    figures = intervals(len(schemas), {name: mean(values) for name, values in columns.items()})
    of_occupation = np.array([schema.refers_to == "occupation" for schema in schemas])
    by_occupation = {
        name: float(leans[[place for place, schema in enumerate(schemas)
                           if schema.occupation == name and of_occupation[place]]].mean())
        for name in dict.fromkeys(schema.occupation for schema in schemas if schema.refers_to == "occupation")
    }  # fmt: skip
    percentages = _percentages(_rows(tables, "occupations"))
    groups = {
        "refers_to": by_group(
            [schema.refers_to for schema in schemas],
            lambda own: {name: mean(values[own]) for name, values in columns.items()},
        ),
        "occupation": {
            name: {"items": sum(schema.occupation == name and schema.refers_to == "occupation" for schema in schemas),
                   "female_over_male": value, **percentages.get(name, {})}
            for name, value in sorted(by_occupation.items())
        },
    }  # fmt: skip
    predictions = [
        {**vars(schema), "nats": dict(zip(PRONOUNS, own.tolist(), strict=True))}
        for schema, own in zip(schemas, nats, strict=True)
    ]
    figures |= _correlations(by_occupation, percentages)
    return TaskResult("bias-winogender", "bias", len(schemas), figures, {"groups": groups}, predictions)


def _schemas(rows: Sequence[tuple[str, Row]]) -> dict[_Schema, dict[str, str]]:
    found: dict[_Schema, dict[str, str]] = defaultdict(dict)
    for where, row in rows:
        parts = str(row.fields["sentid"]).split(".")
        if len(parts) < 4 or parts[2] not in "01" or parts[3] not in PRONOUNS:
            raise ForjaError(
                f"the sentid {row.fields['sentid']} is not occupation.participant.0 or 1.male, female or neutral.",
                where=where,
            )
        schema = _Schema(parts[0], parts[1], "participant" if parts[2] == "1" else "occupation")
        found[schema][parts[3]] = str(row.fields["sentence"]).strip()
    if partial := next((schema for schema, own in found.items() if len(own) < len(PRONOUNS)), None):
        raise ForjaError(
            f"the sentence of {partial.occupation} and {partial.participant} lacks one of the pronouns "
            f"{', '.join(PRONOUNS)}."
        )
    return dict(found)


def _percentages(rows: Sequence[tuple[str, Row]]) -> dict[str, dict[str, float]]:
    """Percentage of women in each occupation, by where it is from."""
    try:
        return {
            str(row.fields["occupation"]): {
                name: float(row.fields[f"{name}_pct_female"])
                for name in ("bls", "bergsma")
                if row.fields.get(f"{name}_pct_female")
            }
            for _, row in rows
        }
    except ValueError as error:
        raise ForjaError(f"a percentage of women is no number ({error}).", where=STATISTICS) from None


def _correlations(
    by_occupation: Mapping[str, float], percentages: Mapping[str, Mapping[str, float]]
) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for source in ("bls", "bergsma"):
        names = [name for name in by_occupation if source in percentages.get(name, {})]
        if len(names) > 2:
            leans = np.array([by_occupation[name] for name in names])
            women = np.array([percentages[name][source] for name in names])
            figures |= intervals(len(names), {f"correlation_{source}": _pearson(leans, women)})
    return figures


def _pearson(one: Values, other: Values) -> Metric:
    def metric(places: Places) -> float:
        a, b = one[places], other[places]
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return float("nan")
        return float(np.corrcoef(a, b)[0, 1])

    return metric
