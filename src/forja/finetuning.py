"""The stages of a run that starts from a trained model: examples, fine-tuning, export, evaluation, report.

Rooms are imported when their stage runs, so that a run with nothing to do answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from forja.errors import ForjaError
from forja.recipe import Recipe
from forja.run import read_json, sha256_file
from forja.stage import Job, Stage, tasks_done

if TYPE_CHECKING:
    from forja.models.base import Base
    from forja.models.tuned import Head


def base_of(recipe: Recipe) -> Base:
    """The model that the recipe starts from. Raises ForjaError."""
    from forja.models.base import find_base

    assert recipe.base is not None
    return find_base(recipe.base, remote_code=recipe.finetune.remote_code)


def _head(recipe: Recipe, examples: Path) -> Head | None:
    from forja.models.tuned import Head

    if recipe.finetune.kind != "classification":
        return None
    return Head(list(read_json(examples / "labels.json") or []))


def _files(recipe: Recipe, base_folder: Path, run_folder: Path) -> Any:
    if not recipe.examples.files:
        raise ForjaError(
            "there are no examples to learn from.", where="examples.files", fix="Name a file: --data FILE, repeatable."
        )
    named = [base_folder / name for name in (*recipe.examples.files, *recipe.examples.test_files)]
    for path in named:
        if not path.is_file():
            raise ForjaError("there is no such file.", where=str(path), fix="Check the path given with --data.")
    return [sha256_file(path) for path in named]


def _base_signature(recipe: Recipe, base_folder: Path, run_folder: Path) -> Any:
    return base_of(recipe).signature()


def _examples(job: Job) -> Any:
    from forja.corpus.examples.build import build_examples

    base_of(job.recipe)  # a base that cannot be had is told before any work
    asked = job.recipe.examples
    return build_examples(
        job.recipe.finetune.kind,
        [Path(name) for name in asked.files],
        job.workspace,
        test_files=[Path(name) for name in asked.test_files],
        valid_fraction=asked.valid_fraction,
        test_fraction=asked.test_fraction,
        text_field=asked.text_field,
        label_field=asked.label_field,
        limit=asked.limit,
        seed=job.recipe.seed,
    )


def _finetune(job: Job) -> Any:
    if job.company:
        job.company.tell({"workspace": str(job.workspace)})
    return train(job)


def train(job: Job) -> Any:
    """The training alone, as each process of several does it."""
    from forja.training.finetune import finetune
    from forja.training.task_data import task_data

    recipe = job.recipe
    base = base_of(recipe)
    data = task_data(recipe.finetune, base, job.run.folder / "examples")
    return finetune(recipe.finetune, base, data, job.workspace, seed=recipe.seed, company=job.company)


def _export(job: Job) -> Any:
    from forja.corpus.examples.build import load_examples
    from forja.evaluation.classifier import RunClassifier, balance, calibrate
    from forja.models.tuned import export_tuned, finished
    from forja.tokens.texts import TextEncoder
    from forja.training.checkpoints import load_checkpoint
    from forja.training.finetune import shape_of
    from forja.training.pretrain import best_checkpoint
    from forja.training.task_data import reading_room, reads_plainly

    recipe, examples = job.recipe, job.run.folder / "examples"
    section, base, head = recipe.finetune, base_of(recipe), _head(recipe, examples)
    checkpoint = load_checkpoint(best_checkpoint(job.run.folder))
    model = finished(base, shape_of(section, head, recipe.seed), checkpoint.model)
    if head is None:
        return export_tuned(model, base, None, job.workspace)
    plain = reads_plainly(section, base, load_examples(examples, "train"))
    encoder = TextEncoder(base.folder, max_tokens=reading_room(section, base), plain=plain)
    balance(RunClassifier(model, encoder, head.labels), load_examples(examples, "valid"))
    figures = export_tuned(model, base, head, job.workspace, plain=plain)
    calibrate(job.workspace, examples, max_tokens=encoder.max_tokens)
    return figures


def _evaluate(job: Job) -> Any:
    from forja.evaluation.learning_curve import learning_curve
    from forja.evaluation.task import write_result
    from forja.evaluation.tuned import evaluate_tuned

    recipe, folder = job.recipe, job.run.folder
    result = evaluate_tuned(recipe.finetune, subject_of(folder, recipe.seed), folder / "examples")
    write_result(result, job.workspace)
    if recipe.finetune.learning_curve:
        learning_curve(recipe.finetune, base_of(recipe), folder / "examples", job.workspace, seed=recipe.seed)
    return {result.task: {name: figure.value for name, figure in result.figures.items()}, "items": result.items}


def _report(job: Job) -> Any:
    from forja.evaluation.finetune_report import finetune_report_stage

    return finetune_report_stage(job.run.folder, job.workspace)


def subject_of(run_folder: Path, seed: int) -> Any:
    """A run as what an evaluation task examines."""
    from functools import cache

    from forja.evaluation.classifier import load_run_classifier
    from forja.evaluation.task import Subject
    from forja.models.hub import load_run_model
    from forja.serving.generate import stream_text

    return Subject(
        folder=run_folder,
        seed=seed,
        language_model=cache(lambda: load_run_model(run_folder)),
        classifier=cache(lambda: load_run_classifier(run_folder)),
        continue_text=stream_text,
    )


def _section(recipe: Recipe) -> dict[str, Any]:
    section = recipe.finetune.model_dump(mode="json", exclude={"learning_curve"})
    return {"seed": recipe.seed, "finetune": section}


STAGES = (
    Stage(
        "examples",
        ("examples",),
        (),
        lambda recipe: {
            "seed": recipe.seed,
            "kind": recipe.finetune.kind,
            "examples": recipe.examples.model_dump(mode="json", exclude={"files", "test_files"}),
            "files": [Path(name).name for name in (*recipe.examples.files, *recipe.examples.test_files)],
        },
        ("corpus/examples", "corpus/rows.py", "corpus/dedup.py"),
        ("numpy", "pyarrow", "xxhash"),
        _examples,
        inputs=_files,
    ),
    Stage(
        "finetune",
        ("training", "checkpoints"),
        ("examples",),
        _section,
        ("training", "models", "tokens/chat.py", "tokens/texts.py"),
        ("torch", "accelerate", "numpy", "transformers", "peft", "tokenizers"),
        _finetune,
        inputs=_base_signature,
    ),
    Stage(
        "export",
        ("model",),
        ("examples", "finetune"),
        lambda recipe: {},
        ("models", "evaluation/classifier.py", "evaluation/thresholds.py"),
        ("transformers", "safetensors", "peft"),
        _export,
        inputs=_base_signature,
    ),
    Stage(
        "evaluate",
        ("evaluation",),
        ("examples", "export"),
        lambda recipe: {
            "seed": recipe.seed,
            "kind": recipe.finetune.kind,
            "learning_curve": recipe.finetune.learning_curve,
        },
        (
            "evaluation/tuned.py",
            "evaluation/learning_curve.py",
            "evaluation/classifier.py",
            "evaluation/scores.py",
            "evaluation/thresholds.py",
            "evaluation/tfidf.py",
            "evaluation/bootstrap.py",
            "evaluation/tasks/classification.py",
        ),
        ("torch", "numpy", "scikit-learn"),
        _evaluate,
        inputs=_base_signature,
    ),
    Stage(
        "report",
        ("report", "report.html", "metrics.json"),
        ("examples", "finetune", "export", "evaluate"),
        lambda recipe: {},
        ("evaluation",),
        ("jinja2",),
        _report,
        inputs=tasks_done,
    ),
)
