"""The report: complete, offline, safe to open, and readable on a phone; and the figures it rests on."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.made_figures import Given, corpus_figures
from evaluation.reading import Page
from forja.errors import ForjaError
from forja.evaluation import findings
from forja.evaluation.machine import machine_description
from forja.evaluation.metrics import PROMISED, collect_metrics
from forja.evaluation.report import report_stage, write_report
from forja.evaluation.wording import choices, gap_sentence, setbacks, size, target_sentence, verdict
from forja.models import hub
from forja.recipe import ReportSection

HOSTILE = "</pre><script>fetch('https://example.com')</script><img src=https://example.com/x.png onerror=alert(1)>"
MACHINE = {"Processor": "A <processor> of 2 cores", "Memory": "8.0 GiB"}
RESOLVED = {
    "threads": 2,
    "precision": "bf16",
    "micro_batch": 16,
    "compile": False,
    "steps": 400,
    "attention": "blocked",
}
MEASURED = {
    "precision": {"gflops": {"fp32": 180.0, "bf16": 1900.0, "fp16": None}},
    "attention": {"fused_ms": 9.1, "blocked_ms": 6.2},
    "step_seconds": 0.41,
    "compile": {"seconds": 38.0, "step_seconds": 0.39},
}


def write_receipt(run: Path, folder: str, stage: str, figures: dict[str, Any], **more: Any) -> None:
    (run / folder).mkdir(parents=True, exist_ok=True)
    receipt = {"stage": stage, "figures": figures, "outputs": {}, "seconds": 12.5, **more}
    receipt["finished"] = "2030-01-02T03:04:05Z"
    (run / folder / "receipt.json").write_text(json.dumps(receipt))


def figures_of(sources: dict[str, int], reasons: dict[str, int]) -> dict[str, Any]:
    """`sources`: documents by source; `reasons`: rejected documents by reason, all of the first source."""
    given = {name: Given(count, masked={"email": 3}) for name, count in sources.items()}
    given[next(iter(sources))].rejected = reasons
    return corpus_figures(given)


def write_log(run: Path, steps: int) -> None:
    lines = []
    for step in range(1, steps + 1):
        loss = 3.1 + 6 * math.exp(-step / 60) + 0.08 * math.sin(step * 1.7)
        lr = 5e-4 * min(1, step / 20) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        pace = 9800 + 300 * math.sin(step)
        line = {"step": step, "loss": loss, "lr": lr, "rates": {"adamw": lr, "muon": 8 * lr}, "tokens": 4096}
        lines.append({**line, "seconds": 4096 / pace, "tokens_per_second": pace})
        if step % 50 == 0:
            valid = 3.3 + 6 * math.exp(-step / 60)
            lines.append({"step": step, "valid_loss": valid, "seconds": 0.2, "peak_memory_bytes": 900_000_000})
    (run / "training" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_run(run: Path, sources: dict[str, int], reasons: dict[str, int], steps: int = 400) -> Path:
    """A run folder as the stages leave it, without model and tokens, which the report does not read."""
    write_receipt(run, "corpus", "corpus", figures_of(sources, reasons))
    write_receipt(run, "tokenizer", "tokenizer", {"vocabulary": 8192, "bytes_per_token": 3.61})
    write_receipt(run, "tokens", "tokens", {"dtype": "uint16"})
    write_receipt(run, "training", "pretrain", {"parameters": 13_900_000, "measured": MEASURED}, resolved=RESOLVED)
    write_receipt(run, "model", "export", {"architecture": "Qwen3ForCausalLM"})
    write_receipt(run, "evaluation", "evaluate", {})
    write_log(run, steps)
    split = {"tokens": 3_000_001, "documents": 9_000, "bytes": 10_800_000, "sequences": 11_000}
    held = {"tokens": 30_001, "documents": 90, "bytes": 103_000, "sequences": 110}
    meta = {"splits": {"train": split, "valid": held, "test": held}}
    (run / "tokens" / "meta.json").write_text(json.dumps(meta))
    figures = {"perplexity": 31.4, "bits_per_byte": 1.378, "unigram": 702.9, "bigram": 121.6}
    figures |= {"tokens": 30_000, "bytes": 103_000, "documents": 90}
    (run / "evaluation" / "perplexity.json").write_text(
        json.dumps({"valid": {**figures, "perplexity": 30.2}, "test": figures})
    )
    (run / "recipe.yaml").write_text("name: made\ncorpus:\n  sources:\n    - path: '<b>bold</b>'\n")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(
        tmp_path / "made", {"python-docs": 40, "<i>manuals</i>": 12}, {"exact-duplicate": 5, "too-short": 2}
    )


SAMPLES = [
    {"prompt": "The function", "temperature": 0.0, "text": " returns the value."},
    {"prompt": "The function", "temperature": 0.9, "text": HOSTILE},
]


def test_the_report_tells_everything_that_it_promises(run: Path) -> None:
    text = Page(write_report(run, SAMPLES, MACHINE).read_text()).text
    for expected in (
        "31.4", "1.378", "121.6", "702.9",  # perplexity, bits per byte, bigram, unigram
        "python-docs", "Exact duplicate", "Too short", "E-mail addresses",  # what went in
        "3.61", "GPT-2",  # the tokenizer
        "validation", "Learning rate", "Throughput",  # curves
        "bf16 1,900", "fp16 far slower", "0.390 s compiled",  # what was measured
        "The function", "returns the value.", "temperature 0.9",  # samples
        "A <processor> of 2 cores", "<b>bold</b>",  # machine and recipe
    ):  # fmt: skip
        assert expected in text, expected


def test_nothing_in_the_report_is_loaded_from_anywhere(run: Path) -> None:
    page = Page(write_report(run, SAMPLES, MACHINE).read_text())
    assert all(address.startswith("#") or address == "data:," for address in page.addresses)
    assert not {"script", "img", "iframe", "object", "embed", "audio", "video"} & set(page.tags)


def test_hostile_text_is_shown_and_never_run(run: Path) -> None:
    html = write_report(run, SAMPLES, {"Processor": HOSTILE}).read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "<i>" not in html
    assert Page(html).text.count("onerror=alert(1)") == 2


def test_a_report_needs_neither_rejections_nor_samples_nor_validations(tmp_path: Path) -> None:
    run = write_run(tmp_path / "made", {"only": 3}, {}, steps=1)
    text = Page(write_report(run, [], {}).read_text()).text
    assert "No document was rejected" in text
    assert "The recipe asks for none" in text


def measured_by(run: Path, objective: str) -> Path:
    """The run, but that its model is no decoder's."""
    path = run / "evaluation" / "perplexity.json"
    figures = {**json.loads(path.read_text()), "objective": objective}
    for split in ("valid", "test"):
        figures[split]["bits_per_byte"] = None
        if objective != "prefix":
            figures[split]["bigram"] = None
    path.write_text(json.dumps(figures))
    return run


@pytest.mark.parametrize("objective", ["masked", "span-corruption", "prefix"])
def test_the_report_of_what_is_no_decoder_leaves_out_what_there_cannot_be(run: Path, objective: str) -> None:
    html = write_report(measured_by(run, objective), [], MACHINE).read_text()
    text = Page(html).text
    assert "31.4" in text
    assert "702.9" in text
    assert ("121.6" in text) == ("Bigram: Kneser-Ney" in html) == (objective == "prefix")
    assert "Bits per byte" not in text
    assert ("continues no text, so none is drawn" in text) == (objective == "masked")
    metrics = collect_metrics(run)
    assert "bits_per_byte.test" not in metrics
    assert None not in metrics.values()


def test_no_sample_is_drawn_of_an_encoder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SimpleNamespace(config=SimpleNamespace(architecture="encoder"))
    monkeypatch.setattr(hub, "load_run_model", lambda folder: (encoder, None))

    def continue_text(*arguments: object, **keywords: object) -> Iterator[str]:
        raise AssertionError("an encoder was asked to go on")

    figures = report_stage(ReportSection(), measured_by(run, "masked"), tmp_path, continue_text=continue_text, seed=1)
    assert figures.samples == 0
    assert json.loads((tmp_path / "report" / "samples.json").read_text()) == []


def test_a_figure_that_there_should_be_is_missed_whatever_the_objective(run: Path) -> None:
    path = measured_by(run, "prefix") / "evaluation" / "perplexity.json"
    figures = json.loads(path.read_text())
    figures["test"]["bigram"] = None
    path.write_text(json.dumps(figures))
    with pytest.raises(ForjaError, match=r"lack perplexity\.bigram\.test"):
        collect_metrics(run)


def test_metrics_hold_every_promised_name_and_only_numbers(run: Path) -> None:
    metrics = collect_metrics(run)
    assert set(PROMISED) <= metrics.keys()
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in metrics.values())
    assert metrics["corpus.documents.kept"] == 52
    assert metrics["training.tokens"] == 400 * 4096
    assert metrics["training.peak_memory_bytes"] == 900_000_000
    assert metrics["perplexity.valid"] == 30.2
    assert not any("measured" in name for name in metrics)


def test_a_run_without_evaluation_is_refused_by_name(run: Path) -> None:
    shutil.rmtree(run / "evaluation")
    with pytest.raises(ForjaError, match=r"perplexity\.test"):
        collect_metrics(run)


def test_the_gap_compares_the_best_validation_with_the_training_before_it(run: Path) -> None:
    gap = findings.gap(findings.curves(run / "training"))
    assert gap is not None
    assert gap.step == 400
    assert gap.valid - gap.train == pytest.approx(0.2, abs=0.05)
    assert gap.later_rise == 0
    assert "moderate" in gap_sentence(gap)
    assert collect_metrics(run)["training.gap"] == pytest.approx(gap.nats)


def test_every_validation_has_its_gap_and_the_chart_shows_them(run: Path) -> None:
    found = findings.gaps(findings.curves(run / "training"))
    assert [one.step for one in found] == list(range(50, 401, 50))
    text = write_report(run, [], MACHINE).read_text()
    assert all(f"gap: {one.nats:.4g} (step {one.step})" in text for one in found)


def test_a_run_without_validations_has_no_gap(tmp_path: Path) -> None:
    run = write_run(tmp_path / "made", {"only": 3}, {}, steps=1)
    assert findings.gap(findings.curves(run / "training")) is None
    assert "training.gap" not in collect_metrics(run)


@pytest.mark.parametrize(
    ("apart", "rise", "expected"),
    [
        (0.05, 0.0, "no overfitting"),
        (0.2, 0.0, "moderate"),
        (0.5, 0.0, "partly remembers"),
        (-0.3, 0.0, "0.30 higher"),
        (0.2, 0.12, "risen again by 0.12"),
    ],
)
def test_the_gap_is_told_in_words(apart: float, rise: float, expected: str) -> None:
    assert expected in gap_sentence(findings.Gap(400, 3.0 + apart, 3.0, rise))


def test_the_gap_is_that_of_the_best_validation_and_tells_of_a_later_rise() -> None:
    losses = [(float(step), 4.0 - step / 100) for step in range(1, 301)]
    drawn = findings.Curves(losses, [(100, 3.3), (200, 3.0), (300, 3.4)], {}, [])
    gap = findings.gap(drawn)
    assert gap is not None
    assert (gap.step, gap.later_rise) == (200, pytest.approx(0.4))


def test_the_report_marks_the_first_target_and_says_whether_it_is_reached(run: Path) -> None:
    html = write_report(run, [], MACHINE).read_text()
    text = Page(html).text
    assert "first target on general text: 20" in text
    assert "a perplexity of 20, is not reached: the loss has still to fall by 0.46 nats a token" in text
    assert html.count('class="mark"') == 3
    assert "is reached, on documents like those that went in" in target_sentence(20.0)
    assert "by 0.01 nats" in target_sentence(20.001)


def test_the_verdict_does_not_flatter() -> None:
    def said(model: float) -> str:
        return verdict({"perplexity.test": model, "perplexity.bigram.test": 100, "perplexity.unigram.test": 500})

    assert "not yet learned" in said(130.0)
    assert "1.3 times fewer" in said(75.0)
    assert "4.0 times fewer" in said(25.0)

    def of_an_encoder(model: float) -> str:
        return verdict({"perplexity.test": model, "perplexity.unigram.test": 500}, "masked")

    assert "not yet learned more than counting tokens" in of_an_encoder(600.0)
    assert "5.0 times fewer: it draws on the text around" in of_an_encoder(100.0)


def test_choices_of_an_unknown_kind_are_still_told() -> None:
    rows = choices({"kernel": "fast"}, {"kernel": {"fast_ms": 1.5, "slow_ms": 2.0}, "lanes": {"count": 3}})
    assert rows[0] == ("kernel", "fast", "fast 1.5 ms, slow 2 ms")
    assert rows[1] == ("lanes", "", "count 3")


def test_sizes_read_as_people_write_them() -> None:
    assert [size(n) for n in (12, 1_500, 23_400_000, 100e9)] == ["12 bytes", "1.5 kB", "23.4 MB", "100 GB"]


def test_the_machine_is_described_in_words() -> None:
    described = machine_description()
    assert {"Processor", "Cores", "Memory", "System", "Python", "Forja", "torch"} <= described.keys()
    assert all(isinstance(value, str) and value for value in described.values())


# --- in a real browser -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_report_whole_and_asks_the_network_for_nothing(
    look: Callable[[Path, int, str], Any], run: Path, width: int, scheme: str
) -> None:
    sources = {"a-source-with-a-name-that-is-far-longer-than-any-phone-is-wide.jsonl.gz" * 2: 9, "b": 1}
    write_receipt(run, "corpus", "corpus", figures_of(sources, {"exact-duplicate": 5, "too-short": 3}))
    samples = [*SAMPLES, {"prompt": "x" * 300, "temperature": 1.0, "text": "y" * 300}]
    page = look(write_report(run, samples, machine_description()), width, scheme)
    assert page.locator("svg").count() == 9


def test_a_training_that_went_back_is_told() -> None:
    assert setbacks(0) == ""
    assert "diverged once" in setbacks(1)
    assert "diverged 3 times" in setbacks(3)
