"""GLUE's tasks taught by fine-tuning a run's model, as `forja evaluate RUN --task glue` does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.glue_rows import sayings, subject, write_jsonl, write_tsv
from evaluation.small_models import small_model, small_tokenizer
from forja.evaluation import glue_fit
from forja.evaluation.task import Subject
from forja.evaluation.tasks import glue, superglue
from forja.models.hub import export_model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model knows nothing yet."""
    folder = tmp_path_factory.mktemp("run")
    small_tokenizer(folder, [text for text, _ in sayings(40)])
    export_model(small_model(), folder / "tokenizer", folder / "model")
    (folder / "recipe.yaml").write_text("forja: 1\nname: small\n")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a model learns in seconds, at a higher rate, and on one thread: several wait for each other."""
    usual = glue_fit.section_for

    def section(rows: int) -> Any:
        optimizer = glue_fit.OPTIMIZER.model_copy(update={"rate": 1e-2})
        return usual(rows).model_copy(update={"optimizer": optimizer, "threads": 1, "precision": "fp32"})

    monkeypatch.setattr(glue_fit, "section_for", section)


def examined(run: Path) -> Subject:
    return replace(subject(run), seed=7)


def write_sayings(folder: Path) -> None:
    for part, count in (("train", 100), ("dev", 60)):
        write_tsv(folder / "SST-2" / f"{part}.tsv", ["sentence", "label"], sayings(count))
        scores = [(text, "a film", 1.0 + 3 * label) for text, label in sayings(count)]
        write_tsv(folder / "STS-B" / f"{part}.tsv", ["sentence1", "sentence2", "score"], scores)


@pytest.mark.usefixtures("quick")
def test_the_runs_model_is_fine_tuned_for_each_task_and_nothing_is_left_behind(run: Path, tmp_path: Path) -> None:
    before = sorted(run.rglob("*"))
    write_sayings(tmp_path)
    results = {result.task: result for result in glue.evaluate(examined(run), [tmp_path])}
    assert results["glue-SST-2"].figures["accuracy"].low > 0.8
    assert results["glue-SST-2"].details["baseline"]["beaten"] is True
    assert results["glue-STS-B"].figures["pearson"].low > 0.8
    # Values come back on the scale of the labels, 1 and 4.
    told = [row["value"] for row in results["glue-STS-B"].predictions]
    assert 0 < min(told) < 2 < 3 < max(told) < 5
    assert sorted(run.rglob("*")) == before


@pytest.mark.usefixtures("quick")
def test_a_choice_between_two_is_learned(run: Path, tmp_path: Path) -> None:
    asked = {"premise": "I sat.", "question": "cause"}
    fine, dull = {"choice1": "fine film", "choice2": "dull film"}, {"choice1": "dull film", "choice2": "fine film"}
    for part, count in (("train", 60), ("val", 40)):
        rows = [{**asked, **(dull if label else fine), "label": label} for _, label in sayings(count)]
        write_jsonl(tmp_path / "COPA" / f"{part}.jsonl", rows)
    result = superglue.evaluate(examined(run), [tmp_path])[0]
    assert result.figures["accuracy"].value == 1.0
    assert result.details["baseline"]["figures"]["accuracy"].value == 0.6


@pytest.mark.usefixtures("quick")
def test_an_evaluation_that_was_stopped_goes_on_and_fits_nothing_twice(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sayings(tmp_path)
    fitted: list[bool] = []
    whole = glue_fit.fit_classifier

    def stopped_at_the_second(section: Any, base: Any, head: Any, *rest: Any, seed: int) -> Any:
        fitted.append(head.regression)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return whole(section, base, head, *rest, seed=seed)

    monkeypatch.setattr(glue_fit, "fit_classifier", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        glue.evaluate(examined(run), [tmp_path])
    assert (run / glue_fit.WORKSPACE).is_dir()
    resumed = glue.evaluate(examined(run), [tmp_path])
    assert fitted == [False, True, True]
    assert not (run / glue_fit.WORKSPACE).exists()
    assert glue.evaluate(examined(run), [tmp_path]) == resumed


def test_few_rows_are_passed_over_more_often() -> None:
    assert glue_fit.section_for(20_000).epochs == 3
    assert glue_fit.section_for(320).epochs == 6
    few = glue_fit.section_for(48)
    assert (few.epochs, few.valid_every) == (20, 5)
