"""GLUE: every task read in its official layout, fitted, and scored as it officially is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from evaluation.glue_rows import Words, fit_words, sayings, subject, write_glue, write_superglue, write_tsv
from forja.corpus.rows import read_rows
from forja.errors import ForjaError
from forja.evaluation import official_metrics as official
from forja.evaluation.compare import compare
from forja.evaluation.glue import TASKS, Item
from forja.evaluation.glue_files import find_places, scored_items, training_items
from forja.evaluation.official_metrics import Verdict
from forja.evaluation.task import TaskResult, write_result
from forja.evaluation.tasks.glue import evaluate
from forja.evaluation.tasks.superglue import evaluate as evaluate_superglue

BY_NAME = {task.name: task for task in TASKS}


def results_of(data: Path, fit: Any = fit_words, **settings: Any) -> dict[str, TaskResult]:
    return {result.task: result for result in evaluate(subject(data), [data], fit=fit, **settings)}


def scored(name: str, folder: Path) -> list[Item]:
    task = BY_NAME[name]
    found = scored_items(task, find_places([task], [folder], ".tsv")[name])
    assert found is not None
    return found.items


def value(metric: official.Official, truth: Sequence[float], told: Sequence[float], **kept: Any) -> float:
    count = len(truth)
    unit = np.array(kept.pop("unit", range(count)))
    verdict = Verdict(np.array(truth), np.array(told), unit, kept.pop("classes", 2), **kept)
    return metric(verdict)(np.arange(verdict.units))


# --- made rows --------------------------------------------------------------------------------


def test_all_of_glue_is_read_fitted_and_scored(tmp_path: Path) -> None:
    results = results_of(write_glue(tmp_path / "glue"))
    assert set(results) == {"glue", *(f"glue-{name}" for name in BY_NAME)}
    for name, task in BY_NAME.items():
        result = results[f"glue-{name}"]
        assert set(result.figures) == set(task.metrics)
        first = next(iter(task.metrics))
        assert result.figures[first].value > 0.99, name
        assert result.details["baseline"]["figures"][first].value < 0.76
        assert result.details["baseline"]["beaten"] is True
        assert result.items == len(result.predictions)
        assert results["glue"].figures[f"{name}.{first}"] == result.figures[first]
    assert results["glue"].details["left_out"] == {}
    assert results["glue-STS-B"].kind == "regression"
    assert results["glue-SST-2"].details["confusion"] == [[8, 0], [0, 12]]
    assert results["glue-MRPC"].details["baseline"]["figures"]["f1"].value == pytest.approx(0.75)


def test_two_segments_are_one_text_under_their_names_and_the_one_that_asks_comes_first(tmp_path: Path) -> None:
    folder = write_glue(tmp_path)
    assert scored("QNLI", folder)[0].text == "question: a fine film number0\nsentence: it is a fine film number0"
    assert scored("RTE", folder)[0].text == "hypothesis: it is a fine film number0\npremise: a fine film number0"
    assert scored("CoLA", folder)[0] == Item("a fine film number0", "1")
    # A quotation mark is one, and the mark that opens the file is none of the header's.
    assert scored("MRPC", folder)[0].text == 'sentence1: a fine film number0\nsentence2: " a fine film number0'
    assert scored("STS-B", folder)[0].label == 5.0
    assert {item.label for item in scored("AX", folder)} == {"entailment", "neutral", "contradiction"}


def test_diagnostics_are_scored_by_the_classifier_of_mnli_which_is_fitted_once(tmp_path: Path) -> None:
    fitted: list[int] = []

    def counting(texts: Sequence[str], *rest: Any, regression: bool) -> Words:
        fitted.append(len(texts))
        return fit_words(texts, *rest, regression=regression)

    write_glue(tmp_path / "all")
    (tmp_path / "glue").mkdir()
    for name in ("MNLI", "diagnostic"):
        (tmp_path / "all" / name).rename(tmp_path / "glue" / name)
    assert set(results_of(tmp_path / "glue", counting)) == {"glue", "glue-MNLI-m", "glue-MNLI-mm", "glue-AX"}
    assert len(fitted) == 1
    (tmp_path / "glue" / "MNLI" / "train.tsv").unlink()
    without = results_of(tmp_path / "glue", counting)
    assert "glue-AX" not in without
    assert "MNLI-m has no training rows" in without["glue"].details["left_out"]["AX"]


def test_a_dev_set_alone_is_told_half_by_half_each_by_a_classifier_of_the_other(tmp_path: Path) -> None:
    said = sayings(60)
    twice = [(text, label) for text, label in said for _ in range(2)]
    write_tsv(tmp_path / "SST-2" / "dev.tsv", ["sentence", "label"], twice)
    seen: list[set[str]] = []

    def watching(texts: Sequence[str], labels: Any, valid: Sequence[str], *rest: Any, regression: bool) -> Words:
        seen.append({*texts, *valid})
        return fit_words(texts, labels, valid, *rest, regression=regression)

    result = results_of(tmp_path, watching)["glue-SST-2"]
    assert result.figures["accuracy"].value == 1.0
    assert "other half" in result.details["taught"]["by"]
    # The same text twice is never on both sides, and each half is learned from once.
    assert len(seen) == 2
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == {text for text, _ in said}
    assert [row["label"] for row in result.predictions] == [str(label) for _, label in twice]
    assert results_of(tmp_path, watching, cap=20)["glue-SST-2"].details["taught"]["rows"] == 20
    assert [len(texts) for texts in seen[2:]] == [10, 10]


def test_a_cap_takes_training_rows_by_chance_and_says_how_many(tmp_path: Path) -> None:
    said = sorted(sayings(200), key=lambda one: one[1])
    write_tsv(tmp_path / "SST-2" / "train.tsv", ["sentence", "label"], said)
    write_tsv(tmp_path / "SST-2" / "dev.tsv", ["sentence", "label"], said[:20])
    place = find_places([BY_NAME["SST-2"]], [tmp_path], ".tsv")["SST-2"]
    one, again, other = (training_items(BY_NAME["SST-2"], place, 100, seed) for seed in (0, 0, 1))
    assert one is not None
    assert (len(one.items), one.rows, one.used) == (100, 200, 100)
    assert {item.label for item in one.items} == {"0", "1"}
    assert one == again != other
    taught = results_of(tmp_path, cap=100)["glue-SST-2"].details["taught"]
    assert (taught["rows"], taught["of"]) == (100, 200)


def test_broken_rows_of_qqp_are_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[Sequence[Any]] = [(0, 1, 2, text, text, label) for text, label in sayings(40)]
    header = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    write_tsv(tmp_path / "QQP" / "train.tsv", header, [*rows, (7, 8, 9, "a question with a line's end"), ("in it",)])
    write_tsv(tmp_path / "QQP" / "dev.tsv", header, [*rows, (7, 8, 9, "cut short"), (*rows[0], "one too many")])
    result = results_of(tmp_path)["glue-QQP"]
    assert result.items == 41
    assert result.details["removed"] == {"no text or label": 1}
    (tmp_path / "short.csv").write_text("one,two\n1\n")
    with pytest.raises(ForjaError, match="1 columns, and the header 2"):
        list(read_rows(tmp_path / "short.csv", ragged=True))
    with pytest.raises(ForjaError, match="4 columns, and the header 6"):
        list(read_rows(tmp_path / "QQP" / "dev.tsv"))


def test_two_runs_are_compared_item_by_item(tmp_path: Path) -> None:
    write_glue(tmp_path / "glue")
    write_superglue(tmp_path / "superglue")

    def contrary(*texts_and_labels: Any, regression: bool) -> Any:
        fitted = fit_words(*texts_and_labels, regression=regression)
        return fitted if regression else Words(fitted.labels[::-1], fitted.model)

    for name, fit in (("one", fit_words), ("two", contrary)):
        for evaluate_all, data in ((evaluate, "glue"), (evaluate_superglue, "superglue")):
            for result in evaluate_all(subject(tmp_path), [tmp_path / data], fit=fit):
                write_result(result, tmp_path / name / "evaluation")
    compared = {(row.task, row.figure): row for row in compare(tmp_path / "one", tmp_path / "two")}
    for task, figure in (("glue-SST-2", "accuracy"), ("glue-MRPC", "f1"), ("superglue-COPA", "accuracy")):
        row = compared[task, figure]
        assert (row.items, row.real) == (20, True)
        assert (row.first.value, row.second.value) == (1.0, 0.0)


def test_folders_are_found_by_the_hubs_names_as_by_the_official_ones(tmp_path: Path) -> None:
    write_glue(tmp_path / "glue")
    for official_name, other in (("SST-2", "sst2"), ("CoLA", "cola"), ("diagnostic", "AX")):
        (tmp_path / "glue" / official_name).rename(tmp_path / "glue" / other)
    assert set(find_places(TASKS, [tmp_path / "glue"], ".tsv")) == set(BY_NAME)
    # One task's folder, and one file of it, are as good.
    assert set(find_places(TASKS, [tmp_path / "glue" / "sst2"], ".tsv")) == {"SST-2"}
    assert set(find_places(TASKS, [tmp_path / "glue" / "sst2" / "dev.tsv"], ".tsv")) == {"SST-2"}


def save_mnli(folder: Path, kind: str) -> None:
    """MNLI as the hub has it, saved by `datasets`."""
    datasets = pytest.importorskip("datasets")
    said = ["surely", "perhaps", "never"]
    text, label = datasets.Value("string"), datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
    features = datasets.Features({"premise": text, "hypothesis": text, "label": label})
    folder.mkdir(parents=True)
    for split, count in (("train", 60), ("validation_matched", 30), ("validation_mismatched", 30), ("test_matched", 9)):
        rows = {
            "premise": ["A man."] * count,
            "hypothesis": [f"he {said[place % 3]} sleeps {place}" for place in range(count)],
            "label": [-1 if split.startswith("test") else place % 3 for place in range(count)],
        }
        made = datasets.Dataset.from_dict(rows, features=features)
        if kind == "json":
            made.to_json(str(folder / f"{split}.jsonl"))
        else:
            made.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))


@pytest.mark.parametrize("kind", ["parquet", "json", "repository"])
def test_the_hubs_layout_is_read_as_the_official_one_is(tmp_path: Path, kind: str) -> None:
    save_mnli(tmp_path / "mnli", kind)
    if kind == "repository":  # opened by `datasets`, as a name on the hub is
        splits = ("train", "validation_matched", "validation_mismatched")
        files = "".join(f"  - {{split: {split}, path: data/{split}-*}}\n" for split in splits)
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: mnli\n  data_files:\n{files}---\n")
        (tmp_path / "mnli").rename(tmp_path / "data")
    results = results_of(tmp_path)
    assert set(results) == {"glue", "glue-MNLI-m", "glue-MNLI-mm"}
    assert results["glue-MNLI-mm"].items == 30
    assert results["glue-MNLI-m"].figures["accuracy"].value == 1.0
    assert results["glue-MNLI-m"].details["labels"] == ["entailment", "neutral", "contradiction"]


def test_shards_of_a_split_are_read_one_after_the_other(tmp_path: Path) -> None:
    for shard in range(2):
        save_mnli(tmp_path / f"{shard}", "parquet")
        moved = tmp_path / "mnli" / f"validation_matched-0000{shard}-of-00002.parquet"
        moved.parent.mkdir(exist_ok=True)
        (tmp_path / f"{shard}" / "validation_matched-00000-of-00001.parquet").rename(moved)
    assert len(scored("MNLI-m", tmp_path)) == 60


# --- metrics ----------------------------------------------------------------------------------


def test_metrics_of_labels_are_those_of_scikit_learn() -> None:
    choose = random.Random(3)
    truth = [choose.randrange(3) for _ in range(200)]
    told = [label if choose.random() < 0.6 else choose.randrange(3) for label in truth]
    yes, says = [int(label == 1) for label in truth], [int(label == 1) for label in told]
    assert value(official.accuracy, truth, told, classes=3) == pytest.approx(accuracy_score(truth, told))
    assert value(official.macro_f1, truth, told, classes=3) == pytest.approx(f1_score(truth, told, average="macro"))
    assert value(official.matthews, truth, told, classes=3) == pytest.approx(matthews_corrcoef(truth, told))
    assert value(official.matthews, yes, says) == pytest.approx(matthews_corrcoef(yes, says))
    assert value(official.f1, yes, says) == pytest.approx(f1_score(yes, says))
    # Where one label alone is told, and where a label occurs in neither.
    assert value(official.f1, yes, [0] * 200) == 0.0
    assert value(official.matthews, yes, [1] * 200) == 0.0
    assert value(official.macro_f1, yes, says, classes=5) == pytest.approx(f1_score(yes, says, average="macro"))


def test_correlations_are_those_of_scipy_and_nothing_for_a_constant() -> None:
    choose = random.Random(4)
    truth = [choose.randrange(11) / 2 for _ in range(100)]
    told = [one + choose.gauss(0, 2) for one in truth]
    assert value(official.pearson, truth, told, classes=0) == pytest.approx(pearsonr(truth, told).statistic)
    assert value(official.spearman, truth, told, classes=0) == pytest.approx(spearmanr(truth, told).statistic)
    for metric in (official.pearson, official.spearman):
        assert value(metric, truth, [sum(truth) / 7] * 100, classes=0) == 0.0


def test_a_unit_counts_as_a_whole() -> None:
    # Three questions: all answers right; one of two wrong; the one there is right.
    truth, told, unit = [1, 0, 1, 0, 0], [1, 0, 1, 1, 0], [0, 0, 1, 1, 2]
    assert value(official.whole_units, truth, told, unit=unit) == pytest.approx(2 / 3)
    assert value(official.f1, truth, told, unit=unit) == pytest.approx(0.8)
    # Two pairs, of which one is told the same twice, wrong though it is; and one sentence without its pair.
    assert value(official.parity, [0, 0, 1, 1, 0], [1, 1, 0, 1, 1], unit=unit) == 0.5
    assert value(official.parity, [2, 2, 2, 1], [0, 2, 1, 1], unit=[0, 0, 1, 1], classes=3) == 0.5


def test_answers_are_compared_as_squad_compares_them() -> None:
    # Right: "The Rhine" or "Rhine River" of the first; chosen "rhine", then "Oslo" where "Bergen" is right.
    answers = ["rhine", "The Rhine", "Rhine River", "Oslo", "Bergen"]
    kept = {"unit": [0, 0, 0, 1, 1], "answers": answers}
    truth, told = [0, 1, 1, 0, 1], [1, 0, 0, 1, 0]
    assert value(official.answer_exact, truth, told, **kept) == 0.5
    assert value(official.answer_f1, truth, told, **kept) == 0.5
    assert value(official.chosen, truth, told, **kept) == 0.0
    # "river rhine" and "Rhine River" share all words; "rhine" and "Rhine River" one of three.
    kept = {"unit": [0, 0], "answers": ["rhine", "Rhine River"]}
    assert value(official.answer_f1, [0, 1], [1, 0], **kept) == pytest.approx(2 / 3)
    assert value(official.answer_exact, [0, 1], [1, 0], **kept) == 0.0


# --- bad input --------------------------------------------------------------------------------


def test_a_folder_without_any_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match=r"none of the tasks is there; they are CoLA"):
        results_of(tmp_path)
    with pytest.raises(ForjaError, match="there is no such folder"):
        results_of(tmp_path / "nowhere")


def test_a_name_that_the_hub_does_not_give_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForjaError, match="cannot be opened"):
        results_of(Path("nobody/glue"))


def test_a_label_that_the_task_does_not_have_is_told_with_its_row(tmp_path: Path) -> None:
    write_tsv(tmp_path / "RTE" / "dev.tsv", ["sentence1", "sentence2", "label"], [("a", "b", "entailment"), "abc"])
    with pytest.raises(ForjaError, match=r"RTE, row 2: the label is 'c'; it should be one of entailment"):
        results_of(tmp_path)
    write_tsv(tmp_path / "STS-B" / "dev.tsv", ["sentence1", "sentence2", "score"], [("a", "b", "much")])
    with pytest.raises(ForjaError, match=r"STS-B, row 1: the score is 'much'"):
        results_of(tmp_path / "STS-B")


def test_labels_that_are_hidden_and_rows_of_one_label_leave_a_task_out(tmp_path: Path) -> None:
    write_tsv(tmp_path / "SST-2" / "dev.tsv", ["index", "sentence"], [(0, "fine"), (1, "dull")])
    write_tsv(tmp_path / "CoLA" / "dev.tsv", [], [("gj04", 1, "", f"It is {place}.") for place in range(20)])
    with pytest.raises(ForjaError) as refused:
        results_of(tmp_path)
    assert "SST-2: no row of dev has a text and a label that is not hidden" in str(refused.value)
    assert "CoLA: all training rows have the label 1" in str(refused.value)


# --- real rows --------------------------------------------------------------------------------

ROWS = {
    "CoLA": (8551, 1043),
    "SST-2": (67349, 872),
    "MRPC": (3667, 408),
    "STS-B": (5749, 1500),
    "QNLI": (None, 5463),
    "RTE": (2490, 277),
    "WNLI": (635, 71),
}


@pytest.mark.realdata
def test_all_real_rows_of_glue_are_read_and_scored_beside_the_majority(realdata: Path) -> None:
    results = results_of(realdata / "glue")
    assert set(results) == {"glue", *(f"glue-{name}" for name in ROWS)}
    for name, (train, dev) in ROWS.items():
        result = results[f"glue-{name}"]
        assert result.items == dev
        assert result.details["taught"].get("of") == train
        assert result.details["removed"] == {}
        assert all(figure.low <= figure.value <= figure.high for figure in result.figures.values())
    # 444 of 872 are positive, and 279 of 408 are paraphrases, as most training rows are.
    majority = {name: results[f"glue-{name}"].details["baseline"] for name in ROWS}
    assert majority["SST-2"]["figures"]["accuracy"].value == pytest.approx(444 / 872)
    assert majority["MRPC"]["figures"]["f1"].value == pytest.approx(2 * 279 / (408 + 279))
    assert majority["STS-B"]["figures"]["pearson"].value == 0.0
    # Words tell opinions, and not entailment.
    assert results["glue-SST-2"].figures["accuracy"].low > 0.75
    assert majority["SST-2"]["beaten"] is True
    assert results["glue-STS-B"].figures["pearson"].low > 0.2
    assert majority["RTE"]["beaten"] is False
