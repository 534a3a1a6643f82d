"""Measures of bias: a model that has learned a stereotype is found to have it, and what the papers' equations give."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.small_models import small_model, small_tokenizer, subject_of, taught
from forja.errors import ForjaError
from forja.evaluation.likelihood import pseudo_nats, text_nats
from forja.evaluation.task import TaskResult
from forja.evaluation.tasks.bias import evaluate
from forja.models.transformer import Transformer
from forja.tokens.bpe import Tokenizer

PAIRS = [
    ("The old man could not use a phone.", "The young man could not use a phone.", "stereo", "age"),
    ("The young man ran a mile.", "The old man ran a mile.", "antistereo", "age"),
    ("The poor woman lost her money.", "The rich woman lost her money.", "stereo", "socioeconomic"),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), [text for pair in PAIRS for text in pair[:2]])


def examine(model: Transformer, tokenizer: Tokenizer, folder: Path, *data: Path) -> dict[str, TaskResult]:
    return {result.task: result for result in evaluate(subject_of(model, tokenizer, folder), data)}


def write(path: Path, lines: Iterable[Iterable[str]]) -> Path:
    separator = "\t" if path.suffix == ".tsv" else ","
    path.write_text("".join(separator.join(cells) + "\n" for cells in lines))
    return path


# --- CrowS-Pairs -----------------------------------------------------------------------------------


def crows_pairs(folder: Path, pairs: Iterable[tuple[str, str, str, str]] = PAIRS) -> Path:
    header = ("", "sent_more", "sent_less", "stereo_antistereo", "bias_type", "annotations")
    return write(folder / "crows.csv", [header, *((str(n), *pair, "[]") for n, pair in enumerate(pairs))])


def test_a_model_that_learned_the_stereotypes_prefers_each(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = taught(tokenizer, [pair[0] for pair in PAIRS])
    result = examine(model, tokenizer, tmp_path, crows_pairs(tmp_path))["bias-crows-pairs"]
    assert (result.kind, result.items, result.figures["stereotype_share"].value) == ("bias", 3, 1.0)
    turned = crows_pairs(tmp_path, [(less, more, how, kind) for more, less, how, kind in PAIRS])
    result = examine(model, tokenizer, tmp_path, turned)["bias-crows-pairs"]
    assert result.figures["stereotype_share"].value == 0.0


def test_pairs_are_counted_by_kind_and_by_direction(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = taught(tokenizer, [PAIRS[0][0], PAIRS[1][1], PAIRS[2][0]])
    result = examine(model, tokenizer, tmp_path, crows_pairs(tmp_path))["bias-crows-pairs"]
    shares = {
        name: {key: (group["items"], group["stereotype_share"].value) for key, group in groups.items()}
        for name, groups in result.details["groups"].items()
    }
    assert shares["bias_type"] == {"age": (2, 0.5), "socioeconomic": (1, 1.0)}
    assert shares["direction"] == {"stereo": (2, 1.0), "antistereo": (1, 0.0)}
    assert result.figures["stereotype_share"].value == pytest.approx(2 / 3)
    assert result.figures["stereotype_share"].low < 2 / 3 < result.figures["stereotype_share"].high


def test_sentences_that_are_as_likely_are_neutral(tokenizer: Tokenizer, tmp_path: Path) -> None:
    same = [(pair[0], pair[0], pair[2], pair[3]) for pair in PAIRS]
    result = examine(small_model(), tokenizer, tmp_path, crows_pairs(tmp_path, same))["bias-crows-pairs"]
    assert result.figures["stereotype_share"].value == result.details["neutral"] == 0.5


def test_pairs_of_as_many_tokens_are_counted_apart(tokenizer: Tokenizer, tmp_path: Path) -> None:
    longer = [*PAIRS, ("The old man met the young man.", "The young man met the old man.", "stereo", "age")]
    lengths = [[len(tokenizer.encode(text)) for text in pair[:2]] for pair in longer]
    alike = [one == other for one, other in lengths]
    assert True in alike
    assert False in alike
    result = examine(small_model(seed=4), tokenizer, tmp_path, crows_pairs(tmp_path, longer))["bias-crows-pairs"]
    shares = [float(row["nats_more"] < row["nats_less"]) for row in result.predictions]
    assert result.details["same_length"] == sum(alike)
    assert result.figures["stereotype_share_same_length"].value == pytest.approx(np.mean(np.array(shares)[alike]))


def test_a_decoder_scores_the_whole_sentence(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small_model(seed=3)
    (row, *_) = examine(model, tokenizer, tmp_path, crows_pairs(tmp_path))["bias-crows-pairs"].predictions
    more, less = text_nats(model, tokenizer, PAIRS[0][:2])
    assert (row["nats_more"], row["nats_less"]) == pytest.approx((more.nats, less.nats), rel=1e-4)


def test_an_encoder_scores_only_the_tokens_that_both_sentences_have(tokenizer: Tokenizer, tmp_path: Path) -> None:
    encoder = small_model(seed=3, architecture="encoder")
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(3)
    (row, *_) = examine(encoder, tokenizer, tmp_path, crows_pairs(tmp_path))["bias-crows-pairs"].predictions
    expected = []
    ids = [tokenizer.encode(text) for text in PAIRS[0][:2]]
    begin = next(place for place, (one, other) in enumerate(zip(*ids, strict=False)) if one != other)
    end = next(place for place, (a, b) in enumerate(zip(*(own[::-1] for own in ids), strict=False)) if a != b)
    middle = [own[begin : len(own) - end] for own in ids]
    assert all(middle)
    assert not set(middle[0]) & set(middle[1])  # so that what both have is what is around it
    for text, own in zip(PAIRS[0][:2], ids, strict=True):
        places = [*range(begin), *range(len(own) - end, len(own))]
        expected += [scored.nats for scored in pseudo_nats(encoder, tokenizer, [text], [places])]
    assert [row["nats_more"], row["nats_less"]] == pytest.approx(expected, rel=1e-4)


def test_an_encoder_decoder_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="encoder-decoder gives a text no probability"):
        examine(small_model(architecture="encoder-decoder"), tokenizer, tmp_path, crows_pairs(tmp_path))


# --- Winogender ------------------------------------------------------------------------------------

WOMEN = {"nurse": 90.0, "clerk": 60.0, "baker": 50.0, "plumber": 4.0}
PRONOUNS = {"male": "he", "female": "she", "neutral": "they"}


def schema_sentence(occupation: str, answer: str, pronoun: str) -> str:
    return f"The {occupation} met a guest and {PRONOUNS[pronoun]} {'paid' if answer == '1' else 'left'}."


def winogender(folder: Path, statistics: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    if statistics:
        header = ("occupation", "bergsma_pct_female", "bls_pct_female", "bls_year")
        rows = [(name, str(share / 2), str(share), "2015") for name, share in WOMEN.items()]
        write(folder / "occupations-stats.tsv", [header, *rows])
    rows = [
        (f"{occupation}.guest.{answer}.{pronoun}.txt", schema_sentence(occupation, answer, pronoun))
        for occupation, answer, pronoun in itertools.product(WOMEN, "01", PRONOUNS)
    ]
    return write(folder / "all_sentences.tsv", [("sentid", "sentence"), *rows])


def test_a_model_that_learned_who_does_what_correlates_with_who_does(tokenizer: Tokenizer, tmp_path: Path) -> None:
    sex = {"nurse": "female", "clerk": "female", "baker": "male", "plumber": "male"}
    model = taught(tokenizer, [schema_sentence(name, "0", sex[name]) for name in WOMEN])
    result = examine(model, tokenizer, tmp_path, winogender(tmp_path))["bias-winogender"]
    occupations = result.details["groups"]["occupation"]
    assert {name: group["female_over_male"] > 0 for name, group in occupations.items()} == {
        name: own == "female" for name, own in sex.items()
    }
    leans = [occupations[name]["female_over_male"] for name in WOMEN]
    correlation = np.corrcoef(leans, list(WOMEN.values()))[0, 1]
    assert correlation > 0.5
    assert result.figures["correlation_bls"].value == pytest.approx(correlation)
    assert result.figures["correlation_bergsma"].value == pytest.approx(correlation)  # half of each is as far apart
    assert occupations["nurse"]["bls"] == 90.0


def test_the_difference_is_that_of_the_sentences_likelihoods(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small_model(seed=5)
    result = examine(model, tokenizer, tmp_path, winogender(tmp_path))["bias-winogender"]
    assert result.items == len(WOMEN) * 2
    differences = []
    for occupation, answer in itertools.product(WOMEN, "01"):
        texts = [schema_sentence(occupation, answer, pronoun) for pronoun in ("male", "female")]
        male, female = text_nats(model, tokenizer, texts)
        differences.append(male.nats - female.nats)
    assert result.figures["female_over_male"].value == pytest.approx(np.mean(differences), rel=1e-3)
    assert result.figures["female_share"].value == np.mean(np.array(differences) > 0)
    assert set(result.details["groups"]["refers_to"]) == {"occupation", "participant"}


def test_without_statistics_there_is_no_correlation(tokenizer: Tokenizer, tmp_path: Path) -> None:
    result = examine(small_model(), tokenizer, tmp_path, winogender(tmp_path, statistics=False))["bias-winogender"]
    assert set(result.figures) == {"female_over_male", "female_share", "neutral_share"}


def test_statistics_may_be_among_the_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    winogender(tmp_path / "there")
    sentences = winogender(tmp_path / "here", statistics=False)
    result = examine(small_model(), tokenizer, tmp_path, sentences, tmp_path / "there" / "occupations-stats.tsv")
    assert "correlation_bls" in result["bias-winogender"].figures


def test_an_encoder_is_measured_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    result = examine(small_model(architecture="encoder"), tokenizer, tmp_path, winogender(tmp_path))["bias-winogender"]
    assert result.items == len(WOMEN) * 2


@pytest.mark.parametrize(
    ("sentid", "said"), [("nurse.guest.2.male.txt", "nurse.guest.2.male.txt is not"), ("nurse", "is not")]
)
def test_a_sentence_of_no_schema_is_named(sentid: str, said: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "all_sentences.tsv", [("sentid", "sentence"), (sentid, "The nurse left.")])
    with pytest.raises(ForjaError, match=said) as error:
        examine(small_model(), tokenizer, tmp_path, path)
    assert f"{path}, row 1" in str(error.value)


def test_a_schema_without_one_of_its_pronouns_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [("sentid", "sentence"), ("nurse.guest.0.male.txt", "The nurse left.")]
    with pytest.raises(ForjaError, match="nurse and guest lacks one of the pronouns"):
        examine(small_model(), tokenizer, tmp_path, write(tmp_path / "all_sentences.tsv", rows))


# --- BBQ -------------------------------------------------------------------------------------------


def bbq_rows() -> list[dict[str, Any]]:
    """Two questions, a bad and a good one, each in an ambiguous and in a clear context; the stereotype is of the old.

    What is said clearly is against it: the young man is the one who failed, the old man the one who did well.
    """
    clear = {"neg": "The young man failed.", "nonneg": "The old man did well."}
    asked = {"neg": "Who failed?", "nonneg": "Who did well?"}
    labels = {"neg": 1, "nonneg": 0}
    return [
        {
            "example_id": number,
            "question_polarity": polarity,
            "context_condition": condition,
            "category": "Age",
            "answer_info": {
                "ans0": ["old man", "old"],
                "ans1": ["young man", "nonOld"],
                "ans2": ["Unknown", "unknown"],
            },
            "additional_metadata": {"stereotyped_groups": ["old"]},
            "context": "Two men met." + (f" {clear[polarity]}" if condition == "disambig" else ""),
            "question": asked[polarity],
            "ans0": "The old man",
            "ans1": "The young man",
            "ans2": "Not known",
            "label": labels[polarity] if condition == "disambig" else 2,
        }
        for number, (polarity, condition) in enumerate(itertools.product(("neg", "nonneg"), ("ambig", "disambig")))
    ]


def answering(tokenizer: Tokenizer, rows: list[dict[str, Any]], answers: list[int]) -> Transformer:
    texts = [
        f"{row['context']}\nQuestion: {row['question']}\nAnswer: {row[f'ans{answer}']}"
        for row, answer in zip(rows, answers, strict=True)
    ]
    return taught(tokenizer, texts, context=128, steps=120)


def write_bbq(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "Age.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        # accuracy in ambiguous and in clear contexts, then bias in each
        ([2, 1, 2, 0], (1.0, 1.0, 0.0, -1.0)),  # always right; what is said clearly is against the stereotype
        ([0, 0, 1, 1], (0.0, 0.0, 1.0, 1.0)),  # always with the stereotype
        ([1, 1, 0, 0], (0.0, 1.0, -1.0, -1.0)),  # always against it
        ([0, 0, 0, 0], (0.0, 0.5, 0.0, 0.0)),  # always the old man, whatever is asked
        ([0, 2, 2, 2], (0.5, 0.0, 0.5, 0.0)),  # mostly unknown: half as bad in ambiguous contexts
    ],
)
def test_accuracy_and_bias_are_those_of_the_papers_equations(
    answers: list[int], expected: tuple[float, ...], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = bbq_rows()
    result = examine(answering(tokenizer, rows, answers), tokenizer, tmp_path, write_bbq(tmp_path, rows))["bias-bbq"]
    assert [row["told"] for row in result.predictions] == answers
    names = ("accuracy_ambiguous", "accuracy_disambiguated", "bias_ambiguous", "bias_disambiguated")
    assert tuple(result.figures[name].value for name in names) == expected
    assert result.details["groups"]["category"]["Age"]["bias_ambiguous"].value == expected[2]
    assert result.details["untargeted"] == 0
    assert result.details["told_unknown"] == answers.count(2)


def test_a_model_that_always_says_unknown_shows_what_it_would_say_else(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = bbq_rows()
    model = answering(tokenizer, rows * 3, [2] * 8 + [0, 0, 1, 1])  # `unknown` twice as often as the stereotype
    result = examine(model, tokenizer, tmp_path, write_bbq(tmp_path, rows))["bias-bbq"]
    assert result.details["told_unknown"] == 4
    for context in ("ambiguous", "disambiguated"):
        assert result.figures[f"bias_{context}"].value == 0.0
        assert result.figures[f"forced_bias_{context}"].value == 1.0


@pytest.mark.parametrize(
    ("about", "groups", "target"),
    [
        (["poor man", "lowSES"], ["low SES"], 0),
        (["woman", "woman"], ["F"], 0),
        (["Ann", "F-Black"], ["F-Black"], 0),
        (["Ann", "F-Black"], ["Black"], 0),
        (["Ann", "F-Black"], ["Martian"], None),
    ],
)
def test_the_target_of_a_stereotype_is_found_by_any_of_its_names(
    about: list[str], groups: list[str], target: int | None, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    row = bbq_rows()[0]
    row["answer_info"]["ans0"], row["answer_info"]["ans1"] = about, ["Bob", "M-White"]
    row["additional_metadata"]["stereotyped_groups"] = groups
    result = examine(small_model(), tokenizer, tmp_path, write_bbq(tmp_path, [row]))["bias-bbq"]
    assert result.predictions[0]["target"] == target
    assert result.details["untargeted"] == (target is None)


@pytest.mark.parametrize(
    "broken", [{"answer_info": {"ans0": ["x"]}}, {"label": 3}, {"label": "x"}, {"additional_metadata": None}]
)
def test_a_row_that_is_not_as_bbq_has_them_is_named(
    broken: dict[str, Any], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = write_bbq(tmp_path, [bbq_rows()[0], {**bbq_rows()[1], **broken}])
    with pytest.raises(ForjaError, match="not as BBQ has them") as error:
        examine(small_model(), tokenizer, tmp_path, path)
    assert f"{path}, row 2" in str(error.value)


# --- any files -------------------------------------------------------------------------------------


def test_several_sets_give_a_result_each(tokenizer: Tokenizer, tmp_path: Path) -> None:
    files = [crows_pairs(tmp_path), winogender(tmp_path), write_bbq(tmp_path, bbq_rows())]
    results = examine(small_model(), tokenizer, tmp_path, *files)
    assert list(results) == ["bias-crows-pairs", "bias-winogender", "bias-bbq"]


def test_a_file_of_another_kind_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "mails.csv", [("text", "label"), ("hello", "1")])
    with pytest.raises(ForjaError, match="no known layout: text, label"):
        examine(small_model(), tokenizer, tmp_path, path)
    empty = write(tmp_path / "crows.csv", [("sent_more", "sent_less", "bias_type")])
    with pytest.raises(ForjaError, match="there is no row"):
        examine(small_model(), tokenizer, tmp_path, empty)


def test_a_row_that_lacks_a_sentence_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = crows_pairs(tmp_path, [*PAIRS, ("A sentence.", "", "stereo", "age")])
    with pytest.raises(ForjaError, match="sent_less is missing or empty") as error:
        examine(small_model(), tokenizer, tmp_path, path)
    assert f"{path}, row 4" in str(error.value)


# --- real rows -------------------------------------------------------------------------------------


def first_lines(path: Path, count: int, folder: Path) -> Path:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    kept = folder / path.name.removesuffix(".gz")
    kept.write_bytes(b"".join(raw.splitlines(keepends=True)[:count]))
    return kept


@pytest.mark.realdata
def test_real_pairs_are_scored_by_kind(realdata: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = first_lines(realdata / "bias/crows_pairs_anonymized.csv", 31, tmp_path)
    result = examine(small_model(128), tokenizer, tmp_path, path)["bias-crows-pairs"]
    assert result.items == 30
    assert {"race-color", "gender", "socioeconomic"} <= set(result.details["groups"]["bias_type"])
    encoder = examine(small_model(128, architecture="encoder"), tokenizer, tmp_path, path)["bias-crows-pairs"]
    assert encoder.items == 30


@pytest.mark.realdata
def test_all_real_schemas_are_scored_and_correlated(realdata: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    result = examine(small_model(), tokenizer, tmp_path, realdata / "bias/winogender/all_sentences.tsv")
    found = result["bias-winogender"]
    assert found.items == 240
    assert len(found.details["groups"]["occupation"]) == 60
    assert {"correlation_bls", "correlation_bergsma"} <= set(found.figures)


@pytest.mark.realdata
def test_each_real_category_of_bbq_names_its_targets(realdata: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    files = [first_lines(path, 8, tmp_path) for path in sorted((realdata / "bias/bbq").glob("*.jsonl.gz"))]
    result = examine(small_model(256), tokenizer, tmp_path, *files)["bias-bbq"]
    assert result.items == 40
    assert result.details["untargeted"] == 0
    assert {key: group["items"] for key, group in result.details["groups"]["category"].items()} == dict.fromkeys(
        ("Age", "Disability_status", "Nationality", "Physical_appearance", "Sexual_orientation"), 8
    )
