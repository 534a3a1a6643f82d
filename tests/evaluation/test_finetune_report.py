"""The report of a fine-tuned run: complete, offline, safe to open, readable on a phone; and the figures beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.made_results import (
    answered,
    classified,
    every_kind,
    figure,
    write_curve,
    write_finetuned,
    write_results,
)
from evaluation.reading import Page
from evaluation.test_report import HOSTILE, MACHINE
from forja.evaluation.finetune_report import finetune_metrics, finetune_report_stage, render_finetune_report
from forja.evaluation.task import TaskResult


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_results(write_finetuned(tmp_path / "triage"), [classified()])


def text_of(run: Path) -> str:
    return Page(render_finetune_report(run, MACHINE)).text


def test_the_stage_leaves_a_page_its_figures_and_the_tasks_that_it_shows(run: Path, tmp_path: Path) -> None:
    write_results(run, [answered()])
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    made = finetune_report_stage(run, workspace)
    assert made.tasks == 2
    assert made.bytes == (workspace / "report.html").stat().st_size
    assert json.loads((workspace / "report" / "tasks.json").read_text()) == ["classification", "cyber-knowledge"]
    assert json.loads((workspace / "metrics.json").read_text()) == finetune_metrics(run)


def test_metrics_are_flat_and_only_numbers(run: Path) -> None:
    write_results(run, [TaskResult("odd", "odd", 3, {"unknown": figure(math.nan)})])
    write_curve(run)
    metrics = finetune_metrics(run)
    assert metrics["classification.f1"] == pytest.approx(classified().figures["f1"].value)
    assert metrics["classification.items"] == 400
    assert metrics["training.valid_loss"] == 0.0767
    assert metrics["examples.train"] == 3_094
    assert metrics["examples.removed.duplicate"] == 319
    assert "odd.unknown" not in metrics
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in metrics.values())
    assert not any("measured" in name for name in metrics)


def test_the_report_says_what_the_run_is_and_what_it_is_worth(run: Path) -> None:
    text, f1 = text_of(run), classified().figures["f1"]
    for expected in (
        "A classifier of 2 classes, fine-tuned from bases/small", "measured 2030-01-02",
        "F1 on 400 examples held out", f"{f1.value:.3f}", f"{f1.low:.3f} to {f1.high:.3f}",
        "It beats TF-IDF with logistic regression", "3,094", "5.31 M", "0.4%",
        "The weights are those of step 40, whose validation loss of 0.0767 nats an example was the lowest",
        "It read all of its epochs", "transformers loads the folder with no Forja installed",
        "Learning rate", "Throughput", "duplicate", "bf16", "A <processor> of 2 cores", "kind: classification",
    ):  # fmt: skip
        assert " ".join(expected.split()) in text, expected


@pytest.mark.parametrize(
    ("kind", "task", "says"),
    [
        ("chat", TaskResult("held-out", "language", 40, {"perplexity": figure(6.2)}), "A chat model"),
        ("continue", TaskResult("held-out", "language", 40, {"perplexity": figure(31.0)}), "pretrained further"),
        ("preference", TaskResult("preference", "multiple-choice", 40, {"preferred": figure(0.7)}), "preferences"),
    ],
)
def test_every_kind_of_fine_tuning_has_its_report(tmp_path: Path, kind: str, task: TaskResult, says: str) -> None:
    run = write_results(write_finetuned(tmp_path / "made", kind), [task, answered()])
    text = text_of(run)
    assert says in text
    assert "on 40 examples held out" in text
    assert text.index("on 40 examples held out") < text.index("Cyber knowledge 400 items")


def test_an_early_stop_a_setback_and_a_missing_validation_are_told(tmp_path: Path) -> None:
    stopped = text_of(write_finetuned(tmp_path / "a", stopped_early=True, rollbacks=1))
    assert "It stopped early" in stopped
    assert "diverged once" in stopped
    assert "as no example was held out for validation" in text_of(write_finetuned(tmp_path / "b", valid_loss=None))


def test_a_run_from_random_weights_does_not_claim_a_base(tmp_path: Path) -> None:
    run = write_finetuned(tmp_path / "made")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "  from_scratch: true\n")
    text = text_of(run)
    assert "trained from random weights in the shape of bases/small" in text
    assert "fine-tuned from" not in text


def test_the_learning_curve_is_there_where_it_was_asked_for(run: Path) -> None:
    assert "Learning curve" not in text_of(run)
    write_curve(run)
    text = text_of(run)
    assert "From the base 200 examples reach what 800 reach from random weights." in text
    assert "0.880 0.850 to 0.910" in text


def test_many_sources_do_not_flood_the_page(run: Path) -> None:
    path = run / "examples" / "receipt.json"
    receipt = json.loads(path.read_text())
    receipt["figures"]["sources"] = {f"archive-{number}": 5 for number in range(300)}
    path.write_text(json.dumps(receipt))
    text = text_of(run)
    assert "archive-39" in text
    assert "archive-40" not in text
    assert "And 260 more." in text


def test_nothing_is_loaded_from_anywhere_and_hostile_text_is_shown(tmp_path: Path) -> None:
    run = write_results(write_finetuned(tmp_path / "made"), [classified(text=HOSTILE)])
    write_curve(run)
    html = render_finetune_report(run, {"Processor": HOSTILE})
    page = Page(html)
    assert all(address.startswith("#") or address == "data:," for address in page.addresses)
    assert not {"script", "img", "iframe", "object", "embed"} & set(page.tags)
    assert "<i>messages" not in html
    assert page.text.count("onerror=alert(1)") == 2


def test_every_link_has_its_place(run: Path) -> None:
    write_results(run, every_kind())
    write_curve(run)
    html = render_finetune_report(run, MACHINE)
    places = [address.removeprefix("#") for address in Page(html).addresses if address.startswith("#")]
    assert len(places) == len(set(places)) > 15
    assert all(f'id="{place}"' in html for place in places)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_report_whole_and_asks_the_network_for_nothing(
    look: Callable[[Path, int, str], Any], tmp_path: Path, run: Path, width: int, scheme: str
) -> None:
    hostile = classified(text="x" * 300, task="phishing-" + "a-file-of-a-long-name" * 4)
    write_results(run, [*every_kind(), hostile])
    write_curve(run)
    finetune_report_stage(run, tmp_path)
    page = look(tmp_path / "report.html", width, scheme)
    assert page.locator("section.task").count() == 13
    for picture in page.locator("svg").all():
        box = picture.bounding_box()
        assert box["width"] <= width
        assert box["x"] >= 0
