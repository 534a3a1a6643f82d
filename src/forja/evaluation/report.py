"""The report: one HTML file that opens offline and tells what a run took in, did and came to.

What it tells is gathered in `findings.py`, drawn in `charts.py` and laid out in `report.html.jinja`; what went in, in
`corpus_report.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forja.evaluation import charts, findings
from forja.evaluation.charts import Bar, Mark
from forja.evaluation.corpus_report import corpus_part
from forja.evaluation.curve_charts import curve_charts
from forja.evaluation.machine import machine_description
from forja.evaluation.metrics import collect_metrics
from forja.evaluation.page import render_page
from forja.evaluation.task import Continue
from forja.evaluation.task_pages import task_sections
from forja.evaluation.wording import FIRST_TARGET, choices, footing, gap_sentence, setbacks, target_sentence, verdict
from forja.models.transformer import Transformer
from forja.progress import progress
from forja.recipe import ReportSection
from forja.run import write_json_atomic, write_text_atomic
from forja.tokens.bpe import Tokenizer
from forja.training.exposure import read_mark

GPT2_BYTES_PER_TOKEN = 4.0
"""About what GPT-2's tokenizer makes of English web text (Radford et al. 2019)."""

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class ReportFigures:
    """What the report stage made."""

    samples: int
    bytes: int


def report_stage(
    section: ReportSection, run_folder: Path, workspace: Path, *, continue_text: Continue, seed: int
) -> ReportFigures:
    """Sample, then write report/samples.json, metrics.json and report.html into the workspace. Raises ForjaError.

    Of a model that has trained on documents since forgotten, no sample is taken: it may know them by heart. None
    is taken of a model that has not learned to continue a text: an encoder, or one that fills in spans.
    """
    from forja.models.hub import load_run_model

    model, tokenizer = load_run_model(run_folder)
    stale = read_mark(run_folder / "model") is not None
    silent = stale or findings.objective(run_folder) in ("masked", "span-corruption")
    samples = [] if silent else draw_samples(model, tokenizer, section, continue_text, seed)
    (workspace / "report").mkdir(exist_ok=True)
    write_json_atomic(workspace / "report" / "samples.json", samples)
    write_json_atomic(workspace / "metrics.json", collect_metrics(run_folder))
    path = write_report(run_folder, samples, machine_description(), folder=workspace)
    return ReportFigures(samples=len(samples), bytes=path.stat().st_size)


def draw_samples(
    model: Transformer, tokenizer: Tokenizer, section: ReportSection, continue_text: Continue, seed: int
) -> list[dict[str, Any]]:
    """One continuation a prompt and temperature: {prompt, temperature, text}, text without the prompt."""
    wanted = [(prompt, temperature) for prompt in section.prompts for temperature in section.temperatures]
    samples = []
    with progress("sampling", total=len(wanted), unit="samples") as bar:
        for number, (prompt, temperature) in enumerate(wanted):
            pieces = continue_text(
                model,
                tokenizer,
                prompt,
                max_tokens=section.sample_tokens,
                temperature=temperature,
                top_k=section.top_k,
                seed=seed + number,
            )
            samples.append({"prompt": prompt, "temperature": temperature, "text": "".join(pieces)})
            bar.advance()
    return samples


def write_report(
    run_folder: Path, samples: Sequence[Sample], machine: Mapping[str, str], *, folder: Path | None = None
) -> Path:
    """Write report.html into `folder` (the run's own by default) and return its path. Raises ForjaError."""
    path = (folder or run_folder) / "report.html"
    write_text_atomic(path, render_report(run_folder, samples, machine))
    return path


def render_report(run_folder: Path, samples: Sequence[Sample], machine: Mapping[str, str]) -> str:
    """The report's HTML. Every text is escaped; only the charts, which escape their own, come in as markup."""
    return render_page("report.html.jinja", _content(run_folder, samples, machine))


def _content(run_folder: Path, samples: Sequence[Sample], machine: Mapping[str, str]) -> dict[str, Any]:
    metrics = collect_metrics(run_folder)
    receipts = findings.receipts(run_folder)
    compression = findings.compression(run_folder / "tokens")
    curves = findings.curves(run_folder / "training")
    trained = receipts.get("training", {"figures": {}})
    gap = findings.gap(curves)
    objective = findings.objective(run_folder)
    recipe = run_folder / "recipe.yaml"
    return {
        "name": run_folder.name,
        "finished": receipts.get("evaluation", {}).get("finished", ""),
        "metrics": metrics,
        "objective": objective,
        "verdict": verdict(metrics, objective),
        "footing": footing(objective),
        "target": target_sentence(metrics["perplexity.test"]) if objective == "next-token" else "",
        "gap": gap_sentence(gap) if gap else "",
        "setbacks": setbacks(trained["figures"].get("rollbacks", 0)),
        "corpus": corpus_part(receipts["corpus"]["figures"]),
        "compression": compression,
        "choices": choices(trained.get("resolved", {}), trained["figures"].get("measured", {})),
        "stages": [(receipt["stage"], receipt.get("seconds", 0.0)) for receipt in receipts.values()],
        "samples": _by_prompt(samples),
        "tasks": task_sections(run_folder),
        "stale": read_mark(run_folder / "model"),
        "recipe": recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        "machine": machine,
        "charts": {
            "perplexity": _perplexity_chart(metrics, objective),
            "compression": _compression_chart(compression),
            **curve_charts(curves),
        },
    }


def _by_prompt(samples: Iterable[Sample]) -> list[tuple[str, list[Sample]]]:
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample["prompt"], []).append(sample)
    return list(grouped.items())


# --- charts --------------------------------------------------------------------------------------


def _perplexity_chart(metrics: Mapping[str, float], objective: str) -> Markup:
    rows = [
        ("Unigram: each token by its frequency", "perplexity.unigram.test", False),
        ("Bigram: Kneser-Ney, one token back", "perplexity.bigram.test", False),
        ("This model", "perplexity.test", True),
    ]
    told = [row for row in rows if row[1] in metrics]
    bars = [Bar(label, metrics[key], f"{metrics[key]:,.1f}", accent) for label, key, accent in told]
    target = Mark(f"first target on general text: {FIRST_TARGET:.0f}", FIRST_TARGET)
    return Markup(
        charts.bar_chart(
            "Perplexity on test documents, lower is better", bars, mark=target if objective == "next-token" else None
        )
    )


def _compression_chart(compression: Mapping[str, float]) -> Markup:
    names = {"train": "Training documents", "valid": "Validation documents", "test": "Test documents"}
    bars = [Bar(names.get(split, split), value, f"{value:.2f}", True) for split, value in compression.items()]
    bars.append(Bar("GPT-2 on English web text, about", GPT2_BYTES_PER_TOKEN, f"{GPT2_BYTES_PER_TOKEN:.0f}"))
    return Markup(charts.bar_chart("Bytes of text a token", bars))
