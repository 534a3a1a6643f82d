"""Any task of EleutherAI's language-model harness (Gao et al. 2023), without training: a Forja model as one of its
models, its answers with intervals.

Tasks are the harness's own, whose data come from a hub, or YAML files of one's own over local data. Such files are
data here, and run no code: see `require_plain`.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError
from forja.evaluation.answers import answer
from forja.evaluation.bootstrap import Metric, intervals
from forja.evaluation.likelihood import Scored, continuation_nats, text_nats
from forja.evaluation.task import Figure, Subject, TaskResult
from forja.progress import progress

if TYPE_CHECKING:
    from lm_eval.api.model import LM

DATA_KINDS = ("json", "csv", "parquet", "text")
"""Kinds of local data that are read without running anything: others, such as pandas', may unpickle."""
ANSWER_TOKENS = 256


def evaluate(subject: Subject, data: Sequence[Path]) -> TaskResult:
    """Every task in these YAML files and folders of YAML files."""
    named: list[str] = []
    folders = []
    for path in data:
        folder = path if path.is_dir() else path.parent
        entries = _index(folder)
        own = [name for name, place in entries.items() if path.is_dir() or place == path.resolve()]
        if not own:
            raise ForjaError("there is no task of the harness here.", where=str(path), fix="Name a YAML file with one.")
        named += [name for name in own if name not in named]
        folders.append(folder)
    return evaluate_harness(subject, named, folders)


def evaluate_harness(
    subject: Subject,
    tasks: Sequence[str],
    include_path: Path | Sequence[Path] = (),
    limit: int | None = None,
    *,
    hub: bool = False,
) -> TaskResult:
    """Tasks, groups or tags by name, each without examples unless it asks for some; `limit` items of each at most.

    Figures are `<task>.<metric>`, and `<task>.<metric>.<filter>` where a task filters answers, as the harness has them,
    with intervals over the items. include_path: folders of YAML files, whose tasks come before the harness's own.
    hub: whether the harness's own tasks may fetch their data; otherwise only what is on this machine is read.

    Raises ForjaError for a name that is no task, a YAML file that is more than data, a task that cannot be set up, a
    model that is no decoder, and where the harness is not installed.
    """
    _require_harness()
    folders = [include_path] if isinstance(include_path, Path) else list(include_path)
    for folder in folders:
        require_plain(folder)
    model, _ = subject.language_model()
    if model.config.architecture != "decoder":
        raise ForjaError(
            f"an {model.config.architecture} gives a text no probability, and the harness asks for it.",
            fix="This needs a run whose model is a decoder.",
        )
    noted: Counter[str] = Counter()
    with _guarded(hub=hub):
        loaded = _load(tasks, folders)
        samples = _run(_harness_model(subject, noted), loaded, limit)
    return _result(loaded["tasks"], samples, noted)


def _require_harness() -> None:
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        raise ForjaError("lm-eval is not installed.", fix="pip install 'forja[harness]'") from None


# --- YAML files of one's own -----------------------------------------------------------------------


def require_plain(folder: Path) -> None:
    """Refuse a folder in which a YAML file, or one that it includes, is more than data.

    Refused are tags such as `!function`, which name Python code; metrics that the harness would look for elsewhere and
    run; prompts from other files; code that a task says is unsafe; and data of kinds that may run code or lie behind an
    address. What includes a file of the harness's own gets that file as the harness has it. Raises ForjaError.
    """
    if not folder.is_dir():
        raise ForjaError("there is no such folder of tasks.", where=str(folder))
    for path in sorted(folder.glob("**/*.yaml")):
        _require_plain_file(path, frozenset())


def _require_plain_file(path: Path, including: frozenset[Path]) -> None:
    import yaml
    from lm_eval import tasks

    path = path.resolve()
    if path.is_relative_to(Path(tasks.__file__).resolve().parent) or path in including:
        return
    try:
        # The harness's own loader, less its tag for functions.
        value = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.constructor.ConstructorError as error:
        raise ForjaError(
            f"the file holds a tag ({error.problem}), which may run Python code, and is not read.",
            where=str(path),
            fix="Write the task with templates alone, such as doc_to_text: '{{sentence}}'.",
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ForjaError(f"the file cannot be read ({str(error).splitlines()[0]}).", where=str(path)) from None
    for mapping in _mappings(value):
        _require_plain_keys(mapping, path)
    included = value.get("include", []) if isinstance(value, dict) else []
    for name in included if isinstance(included, list) else [included]:
        _require_plain_file(path.parent / str(name), including | {path})


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for member in value.values() if isinstance(value, Mapping) else value:
            yield from _mappings(member)


def _require_plain_keys(mapping: Mapping[str, Any], path: Path) -> None:
    from lm_eval.api.registry import metric_registry

    metric, kind = mapping.get("metric"), mapping.get("dataset_path")
    refused = {
        "class": "class" in mapping,
        "use_prompt": "use_prompt" in mapping,
        "unsafe_code": bool(mapping.get("unsafe_code")),
        "hf_evaluate": bool(mapping.get("hf_evaluate")),
        f"the metric {metric}, which is not the harness's own": metric is not None and metric not in metric_registry,
        f"dataset_path: {kind}": kind is not None and kind not in DATA_KINDS,
        "an address among data_files": any("://" in text for text in _strings(mapping.get("data_files"))),
    }
    found = next((name for name, is_there in refused.items() if is_there), None)
    if found is not None:
        raise ForjaError(
            f"the task asks for {found}, which a task file of one's own may not.",
            where=str(path),
            fix=f"Data are local files of the kinds {', '.join(DATA_KINDS)}, and metrics those of the harness.",
        )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for member in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(member)


@contextmanager
def _guarded(*, hub: bool) -> Iterator[None]:
    """Templates in a sandbox, no address reached unless `hub`, and none of the libraries' own chatter."""
    import datasets
    import huggingface_hub.constants
    import lm_eval.api.task
    import lm_eval.utils
    from jinja2.sandbox import SandboxedEnvironment

    plain = lm_eval.utils.env
    sandbox = SandboxedEnvironment(undefined=plain.undefined, keep_trailing_newline=plain.keep_trailing_newline)
    sandbox.filters = plain.filters
    offline = [] if hub else [(huggingface_hub.constants, "HF_HUB_OFFLINE"), (datasets.config, "HF_HUB_OFFLINE")]
    changes = [
        (lm_eval.utils, "env", sandbox),
        (lm_eval.api.task, "tqdm", partial(lm_eval.api.task.tqdm, disable=True)),
        *((place, name, True) for place, name in offline),
    ]
    chatty = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    before = [(place, name, getattr(place, name)) for place, name, _ in changes]
    levels, barred = [logger.level for logger in chatty], datasets.is_progress_bar_enabled()
    try:
        for place, name, value in changes:
            setattr(place, name, value)
        for logger in chatty:
            logger.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)
        if barred:
            datasets.enable_progress_bars()


# --- running ---------------------------------------------------------------------------------------


def _index(folder: Path) -> dict[str, Path]:
    """The tasks and groups in a folder's YAML files, and where each is."""
    _require_harness()
    require_plain(folder)
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return {name: entry.yaml_path.resolve() for name, entry in manager.task_index.items() if entry.yaml_path}


def _load(names: Sequence[str], folders: Sequence[Path]) -> Any:
    """The harness's tasks and groups by these names. Raises ForjaError."""
    from lm_eval.tasks import TaskManager

    paths = [str(folder) for folder in folders]
    manager = TaskManager(include_path=paths, include_defaults=False)
    plain = {name for name in names if name in manager.all_subtasks}
    if plain != set(names):  # reading the harness's own thousands of files takes a while
        manager = TaskManager(include_path=paths)
    unknown = [name for name in names if name not in manager.all_tasks]
    if unknown or not names:
        near = [name for wrong in unknown for name in get_close_matches(wrong, manager.all_tasks, n=2)]
        raise ForjaError(
            f"the harness has no task {' and no '.join(unknown)}." if unknown else "no task of the harness is named.",
            fix=f"Did you mean {' or '.join(near)}?" if near else "`lm_eval ls tasks` lists its own.",
        )
    try:
        return manager.load(list(names))
    except Exception as error:  # of any kind: the library checks no task file before it uses it
        offline = "OfflineMode" in type(error).__name__ or "ConnectionError" in type(error).__name__
        raise ForjaError(
            f"the task cannot be set up ({type(error).__name__}: {_first_line(error)}).",
            where=", ".join(names),
            fix="Its data are not on this machine, and nothing is fetched." if offline else "Check its YAML file.",
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _run(model: LM, loaded: Any, limit: int | None) -> dict[str, list[dict[str, Any]]]:
    """What the harness has of each item, by task."""
    from lm_eval.evaluator import evaluate as run

    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=0)
    try:
        found = run(model, loaded, limit=limit, bootstrap_iters=0, log_samples=True)
    except ForjaError:
        raise
    except Exception as error:  # as above, and templates meet the data only here
        raise ForjaError(
            f"the task failed ({type(error).__name__}: {_first_line(error)}).",
            where=", ".join(loaded["tasks"]),
            fix="Check its templates against its data.",
        ) from None
    samples: dict[str, list[dict[str, Any]]] = dict(found["samples"]) if found else {}
    return samples


def _harness_model(subject: Subject, noted: Counter[str]) -> LM:
    """The subject as the harness sees a model; noted: what did not fit the context is counted there."""
    from lm_eval.api.model import LM

    model, tokenizer = subject.language_model()

    def note(scored: Sequence[Scored]) -> None:
        noted["shortened"] += sum(one.unseen > 0 for one in scored)
        noted["cut"] += sum(not one.whole for one in scored)

    class ForjaModel(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            scored = continuation_nats(model, tokenizer, [request.args for request in requests])
            note(scored)
            return [(-one.nats, one.greedy) for one in scored]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return [-one.nats for one in text_nats(model, tokenizer, [request.args[0] for request in requests])]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            said = []
            with progress("answering", total=len(requests), unit="answers") as bar:
                for request in requests:
                    prompt, how = request.args
                    said.append(self._answer(prompt, dict(how)))
                    bar.advance()
            return said

        def _answer(self, prompt: str, how: dict[str, Any]) -> str:
            until = how.get("until") or []
            return answer(
                subject,
                model,
                tokenizer,
                prompt,
                max_tokens=int(how.get("max_gen_toks", ANSWER_TOKENS)),
                until=[until] if isinstance(until, str) else until,
                temperature=float(how.get("temperature", 0.0)) if how.get("do_sample") else 0.0,
            )

    return ForjaModel()


# --- figures ---------------------------------------------------------------------------------------


def _result(tasks: Mapping[str, Any], samples: Mapping[str, list[dict[str, Any]]], noted: Counter[str]) -> TaskResult:
    figures: dict[str, Figure] = {}
    groups: dict[str, Any] = {}
    predictions = []
    for name, own in samples.items():
        groups[name] = {"items": len({sample["doc_id"] for sample in own})}
        for filtered in dict.fromkeys(sample["filter"] for sample in own):
            kept = [sample for sample in own if sample["filter"] == filtered]
            suffix = "" if filtered == "none" else f".{filtered}"
            found = intervals(len(kept), _metrics(tasks[name].aggregation(), kept))
            figures |= {f"{name}.{metric}{suffix}": figure for metric, figure in found.items()}
            groups[name] |= {f"{metric}{suffix}": figure for metric, figure in found.items()}
        predictions += [
            {
                "task": name,
                "row": sample["doc_id"],
                "target": str(sample["target"]),
                "filter": sample["filter"],
                "told": str(sample["filtered_resps"]),
                **{metric: str(sample[metric]) for metric in sample["metrics"]},
            }
            for sample in own
        ]
    items = sum(group["items"] for group in groups.values())
    details = {"groups": {"task": groups}, **noted}
    return TaskResult("harness", "multiple-choice", items, figures, details, predictions)


def _metrics(aggregations: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """The harness's own aggregation of each metric, over the items drawn."""

    def of(metric: str) -> Metric:
        values = [sample[metric] for sample in samples]

        def drawn(places: npt.NDArray[np.int64]) -> float:
            with warnings.catch_warnings(action="ignore"):  # of draws in which a class is missing
                return float(aggregations[metric]([values[place] for place in places]))

        return drawn

    return {metric: of(metric) for metric in samples[0]["metrics"] if metric in aggregations}
