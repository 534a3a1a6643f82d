"""Labelled files measured with a classifier: a real one, small, whose rows are made or real."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from forja.corpus.examples.build import SCHEMA
from forja.corpus.rows import read_rows
from forja.errors import ForjaError
from forja.evaluation.task import Subject, as_json, write_result
from forja.evaluation.tasks.classification import evaluate, evaluate_split
from forja.evaluation.thresholds import best_f1_threshold

USUAL = ["meeting", "invoice", "report", "budget", "thanks", "monday", "draft", "agenda", "review", "lunch"]
BAIT = ["winner", "prize", "urgent", "verify", "click", "account", "suspended", "claim", "free", "offer"]

Row = dict[str, Any]


@dataclass
class NaiveBayes:
    """scikit-learn behind the protocol of a classifier."""

    labels: list[str]
    pipeline: Pipeline

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self.pipeline.predict_proba(list(texts)))


def fitted(rows: Sequence[Row], labels: list[str]) -> NaiveBayes:
    pipeline = make_pipeline(TfidfVectorizer(), MultinomialNB(alpha=0.1))
    pipeline.fit([row["text"] for row in rows], [labels.index(str(row["label"])) for row in rows])
    return NaiveBayes(labels, pipeline)


def mails(count: int, *, seed: int, spam: float = 0.4, source: str = "office") -> list[Row]:
    choose = random.Random(seed)
    rows = []
    for number in range(count):
        label = int(choose.random() < spam)
        words = choose.choices(USUAL, k=8) + choose.choices(BAIT, k=choose.choice([1, 2, 3] if label else [0, 0, 1]))
        choose.shuffle(words)
        text = " ".join([*words, f"ref{seed}x{number}"])
        rows.append({"id": f"{source}-{seed}-{number}", "text": text, "label": str(label), "source": source})
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_examples(run: Path, **splits: list[Row]) -> Path:
    """As the examples' stage leaves them."""
    folder = run / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        kept = [
            {**row, "groups": json.dumps({"language": row["language"]}) if "language" in row else None} for row in rows
        ]
        pq.write_table(pa.Table.from_pylist(kept, schema=SCHEMA), folder / f"{name}.parquet")
    return folder


def subject_of(run: Path, classifier: NaiveBayes) -> Subject:
    def none(*_: Any, **__: Any) -> Any:
        raise ForjaError("this run is a classifier.")

    return Subject(run, 0, language_model=none, classifier=lambda: classifier, continue_text=none)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with examples and the threshold that its validation examples gave."""
    run = tmp_path_factory.mktemp("runs") / "triage"
    train, valid, test = mails(400, seed=1), mails(200, seed=2), mails(200, seed=3)
    write_examples(run, train=train, valid=valid, test=test)
    scores = fitted(train, ["0", "1"]).scores([row["text"] for row in valid])[:, 1]
    labels = np.array([int(row["label"]) for row in valid])
    calibration = {
        "positive": "1",
        "threshold": best_f1_threshold(labels, scores),
        "validation": {"scores": scores.tolist(), "labels": labels.tolist()},
    }
    (run / "model").mkdir()
    (run / "model" / "classification.json").write_text(json.dumps(calibration))
    return run


@pytest.fixture(scope="module")
def subject(run: Path) -> Subject:
    return subject_of(run, fitted(mails(400, seed=1), ["0", "1"]))


def test_the_runs_own_test_split_is_told_at_the_threshold_of_validation(subject: Subject, run: Path) -> None:
    result = evaluate_split(subject, run / "examples")
    test = mails(200, seed=3)
    scores = subject.classifier().scores([row["text"] for row in test])[:, 1]
    threshold = json.loads((run / "model" / "classification.json").read_text())["threshold"]
    labels = [int(row["label"]) for row in test]

    assert (result.task, result.kind, result.items) == ("classification", "classification", 200)
    assert result.details["threshold"] == threshold
    assert "validation" in result.details["threshold_from"]
    assert result.figures["f1"].value == pytest.approx(metrics.f1_score(labels, scores >= threshold))
    assert result.figures["auroc"].value == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert result.details["confusion"] == metrics.confusion_matrix(labels, scores >= threshold).tolist()
    assert [row["id"] for row in result.predictions] == [row["id"] for row in test]
    assert set(result.predictions[0]) == {"id", "label", "told", "score", "source"}
    assert sum(row["label"] != row["told"] for row in result.predictions) == sum(
        result.details["confusion"][one][other] for one, other in ((0, 1), (1, 0))
    )


def test_the_baseline_stands_beside_and_says_whether_it_is_beaten(subject: Subject, run: Path) -> None:
    baseline = evaluate_split(subject, run / "examples").details["baseline"]
    assert baseline["name"] == "TF-IDF with logistic regression"
    assert {"f1", "auroc"} <= set(baseline["figures"])
    difference = baseline["difference"]
    assert difference.low <= difference.value <= difference.high
    assert baseline["beaten"] is (True if difference.low > 0 else False if difference.value <= 0 else None)


def test_a_classifier_that_guesses_does_not_beat_the_baseline(run: Path) -> None:
    shuffled = [{**row, "label": str(number % 2)} for number, row in enumerate(mails(400, seed=1))]
    result = evaluate_split(subject_of(run, fitted(shuffled, ["0", "1"])), run / "examples")
    assert result.details["baseline"]["beaten"] is False
    assert result.details["baseline"]["difference"].high < 0


def test_a_file_of_another_origin_gets_a_threshold_without_its_labels(subject: Subject, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "other.csv", mails(300, seed=7, spam=0.1, source="elsewhere"))
    turned = [{**row, "label": "1" if row["label"] == "0" else "0"} for row in mails(300, seed=7, spam=0.1)]
    result = evaluate(subject, [other])
    blind = evaluate(subject, [write_csv(tmp_path / "turned.csv", turned)])

    assert "without its labels" in result.details["threshold_from"]
    assert result.details["threshold"] == blind.details["threshold"]
    assert result.details["unadapted"]["threshold"] != result.details["threshold"]
    # The labels were read only to measure: turned about, they make of every hit a mistake.
    assert result.figures["accuracy"].value == pytest.approx(1 - blind.figures["accuracy"].value)


def test_what_was_trained_on_and_what_is_there_twice_is_removed_and_told(subject: Subject, tmp_path: Path) -> None:
    fresh, seen = mails(50, seed=8), mails(400, seed=1)[:20]
    laid_out = [{**row, "text": row["text"].upper().replace(" ", "\n ")} for row in seen]
    blank = [{**fresh[0], "text": "  "}]
    result = evaluate(subject, [write_csv(tmp_path / "leaky.csv", fresh + laid_out + fresh[:5] + blank)])
    assert result.items == 50
    assert result.details["removed"] == {
        "its text is in the training or validation examples": 20,
        "its text is in the data twice": 5,
        "it is empty": 1,
    }

    with pytest.raises(ForjaError, match="no row is left"):
        evaluate(subject, [write_csv(tmp_path / "all.csv", seen)])


def test_each_source_has_its_figures(subject: Subject, tmp_path: Path) -> None:
    rows = mails(60, seed=4, source="a") + mails(30, seed=5, source="b")
    groups = evaluate(subject, [write_csv(tmp_path / "two.csv", rows)]).details["groups"]["source"]
    assert {name: group["items"] for name, group in groups.items()} == {"a": 60, "b": 30}
    assert groups["b"]["f1"].low <= groups["b"]["f1"].value


@pytest.mark.parametrize("columns", [("sentence", "class"), ("Body", "Target"), ("message", "category")])
def test_columns_have_other_names_and_labels_other_spellings(
    subject: Subject, tmp_path: Path, columns: tuple[str, str]
) -> None:
    text, label = columns
    spell: Callable[[Row], Any] = lambda row: row["label"] == "1"  # noqa: E731
    lines = [json.dumps({text: row["text"], label: spell(row)}) for row in mails(40, seed=6)]
    path = tmp_path / "mails.jsonl"
    path.write_text("\n".join(lines))
    result = evaluate(subject, [path])
    assert result.items == 40
    assert sum(row["label"] == "1" for row in result.predictions) == sum(
        row["label"] == "1" for row in mails(40, seed=6)
    )
    # Ids are told by what the rows say, so that another run's predictions of them are found.
    assert len({row["id"] for row in result.predictions}) == 40


def test_bad_files_are_refused_with_their_place(subject: Subject, tmp_path: Path) -> None:
    rows = mails(20, seed=6)
    strange = [{"words": row["text"], "label": row["label"]} for row in rows]
    with pytest.raises(ForjaError, match=r"no column holds the text: the columns are words, label"):
        evaluate(subject, [write_csv(tmp_path / "strange.csv", strange)])

    unlabelled = [{**row, "label": "" if number == 4 else row["label"]} for number, row in enumerate(rows)]
    with pytest.raises(ForjaError, match="label is missing") as told:
        evaluate(subject, [write_csv(tmp_path / "unlabelled.csv", unlabelled)])
    assert "unlabelled.csv, row 5" in str(told.value)

    named = [{**row, "label": "ham" if row["label"] == "0" else "1"} for row in rows]
    with pytest.raises(ForjaError, match=r"does not know: 'ham' \(\d+ rows\)") as told:
        evaluate(subject, [write_csv(tmp_path / "named.csv", named)])
    assert "It knows '0', '1'." in str(told.value)


def test_one_class_alone_leaves_out_what_needs_two_and_says_so(subject: Subject, tmp_path: Path) -> None:
    rows = [row for row in mails(200, seed=9) if row["label"] == "1"]
    result = evaluate(subject, [write_csv(tmp_path / "spam.csv", rows)])
    assert "auroc" not in result.figures
    assert {"recall", "f1", "accuracy"} <= set(result.figures)
    assert any("No row has the label '0'" in note for note in result.details["notes"])
    assert result.details["baseline"]["figures"]["recall"].value > 0.5


def test_without_examples_there_is_no_baseline_and_half_is_the_threshold(tmp_path: Path) -> None:
    hub = subject_of(tmp_path / "hub", fitted(mails(400, seed=1), ["0", "1"]))
    result = evaluate(hub, [write_csv(tmp_path / "other.csv", mails(60, seed=7))])
    assert "baseline" not in result.details
    assert result.details["threshold"] == 0.5
    assert any("no baseline" in note for note in result.details["notes"])


def test_the_positive_label_is_the_one_looked_for(tmp_path: Path) -> None:
    named = [{**row, "label": "phishing" if row["label"] == "1" else "usual"} for row in mails(400, seed=1)]
    found = subject_of(tmp_path / "hub", fitted(named, ["phishing", "usual"]))
    data = [{**row, "label": "Phishing" if row["label"] == "1" else "usual"} for row in mails(100, seed=2)]
    result = evaluate(found, [write_csv(tmp_path / "other.csv", data)])
    told = [row["score"] >= 0.5 for row in result.predictions]
    assert result.details["positive"] == "phishing"
    assert result.figures["f1"].value == pytest.approx(
        metrics.f1_score([row["label"] == "Phishing" for row in data], told)
    )


def test_mistakes_are_shown_with_personal_data_masked(subject: Subject, tmp_path: Path) -> None:
    rows = [
        {**row, "text": f"bob.miller@example.org from 10.20.30.40 wrote: {row['text']} " + "lunch " * 100}
        for row in mails(100, seed=11)
    ]
    wrong = evaluate(subject, [write_csv(tmp_path / "people.csv", rows)]).details["wrong"]
    assert 0 < len(wrong) <= 12
    for mistake in wrong:
        assert "<email> from <ip> wrote" in mistake["text"]
        assert "miller" not in mistake["text"]
        assert len(mistake["text"]) <= 300
        assert mistake["label"] != mistake["told"]


def grouped(count: int, seed: int) -> list[Row]:
    """Mails in two languages, of which one is spam more often in training."""
    rows = mails(count, seed=seed)
    choose = random.Random(seed)
    for row in rows:
        spanish = choose.random() < (0.8 if row["label"] == "1" else 0.3)
        row["language"] = "es" if spanish else "en"
        row["text"] = f"{'hola' if spanish else 'hello'} {row['text']}"
    return rows


def test_groups_named_by_the_data_are_compared_before_and_after_mitigation(tmp_path: Path) -> None:
    train = grouped(400, seed=1)
    write_examples(tmp_path / "run", train=train, valid=grouped(150, seed=2))
    found = subject_of(tmp_path / "run", fitted(train, ["0", "1"]))
    rows = grouped(300, seed=3)
    rows[0]["language"] = "fr"
    fairness = evaluate(found, [write_csv(tmp_path / "people.csv", rows)]).details["fairness"]

    assert fairness["group"] == "language"
    assert set(fairness["by_group"]) == {"en", "es"}
    assert fairness["left_out"] == {"fr": 1}
    assert set(fairness["mitigated"]) == {"threshold-optimizer", "reweighing"}
    for mitigated in fairness["mitigated"].values():
        assert {"demographic_parity_difference", "equalized_odds_difference", "f1", "before"} <= set(mitigated)
    reweighed = fairness["mitigated"]["reweighing"]
    gap = "demographic_parity_difference"
    assert reweighed[gap].value < reweighed["before"][gap].value


def test_several_labels_have_means_over_them_and_no_threshold(tmp_path: Path) -> None:
    topics = {"money": ["budget", "invoice", "tax"], "people": ["lunch", "party", "leave"], "code": ["bug", "merge"]}
    choose = random.Random(0)
    rows = [
        {"text": " ".join([*choose.choices(words, k=4), choose.choice(BAIT), str(number)]), "label": name}
        for number in range(60)
        for name, words in topics.items()
    ]
    write_examples(tmp_path / "run", train=rows[:120])
    found = subject_of(tmp_path / "run", fitted(rows[:120], ["code", "money", "people"]))
    result = evaluate(found, [write_csv(tmp_path / "topics.csv", rows[120:])])
    assert result.details["positive"] is None
    assert result.details["threshold"] is None
    assert result.figures["f1"].value > 0.9
    assert np.array(result.details["confusion"]).shape == (3, 3)
    assert result.details["baseline"]["figures"]["f1"].value > 0.9
    write_result(result, tmp_path / "evaluation")
    assert json.loads((tmp_path / "evaluation" / "classification.json").read_text())["items"] == 60


def test_the_result_is_json(subject: Subject, tmp_path: Path) -> None:
    result = evaluate(subject, [write_csv(tmp_path / "other.csv", mails(60, seed=7))])
    whole = json.loads(json.dumps(as_json(result)))
    assert set(whole["figures"]["f1"]) == {"value", "low", "high"}
    assert len(whole["details"]["curves"]["precision_recall"]) <= 100
    assert whole["details"]["baseline"]["difference"]["low"] <= whole["details"]["baseline"]["difference"]["high"]


@pytest.mark.realdata
def test_real_messages_are_measured_beside_the_baseline(realdata: Path, tmp_path: Path) -> None:
    rows = [row.fields for row in read_rows(realdata / "phishing/sms_spam.csv.gz")]
    random.Random(0).shuffle(rows)
    rows = [{**row, "id": str(number)} for number, row in enumerate(rows)]
    write_examples(tmp_path / "run", train=rows[:2500], valid=rows[2500:3000], test=rows[3000:])
    found = subject_of(tmp_path / "run", fitted(rows[:2500], ["0", "1"]))
    result = evaluate_split(found, tmp_path / "run" / "examples")
    # The collection holds the same message many times.
    assert sum(result.details["removed"].values()) > 20
    assert result.items + sum(result.details["removed"].values()) == len(rows) - 3000
    assert result.figures["auroc"].value > 0.95
    assert result.details["baseline"]["figures"]["f1"].value > 0.88


@pytest.mark.realdata
def test_real_phishing_alone_is_told_by_a_classifier_of_another_collection(realdata: Path, tmp_path: Path) -> None:
    rows = [row.fields for row in read_rows(realdata / "phishing/enron_spam.csv.gz")]
    random.Random(0).shuffle(rows)
    found = subject_of(tmp_path / "hub", fitted(rows[:2000], ["0", "1"]))
    result = evaluate(found, [realdata / "phishing/nazario_phishing.csv.gz"])
    assert result.items > 1000
    assert result.figures["recall"].value > 0.5
    assert "auroc" not in result.figures
    assert set(result.details["groups"]["source"]) == {
        row.fields["source"] for row in read_rows(realdata / "phishing/nazario_phishing.csv.gz")
    }
