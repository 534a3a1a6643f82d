"""The language-model harness: its figures are what the likelihoods say, and a task file of one's own runs no code."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.small_models import small_model, small_tokenizer, subject_of, taught
from forja.corpus.rows import read_rows
from forja.errors import ForjaError
from forja.evaluation.likelihood import continuation_nats, text_nats
from forja.evaluation.task import TaskResult
from forja.evaluation.tasks.harness import evaluate, evaluate_harness
from forja.models.hub import export_model
from forja.models.transformer import Transformer
from forja.progress import set_quiet
from forja.tokens.bpe import Tokenizer
from made import sentences

lm_eval = pytest.importorskip("lm_eval")

REVIEWS = [("a fine film", 1), ("a dull film", 0), ("fine acting", 1), ("dull and long", 0), ("fine but dull", 0)]
CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{ validation: {data} }}
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{{{sentence}}}}\\nSentiment:"
doc_to_target: label
doc_to_choice: ["negative", "positive"]
metric_list:
  - {{ metric: acc, aggregation: mean, higher_is_better: true }}
"""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), known() * 3)


@pytest.fixture(scope="module")
def learned(tokenizer: Tokenizer) -> Transformer:
    return taught(tokenizer, known())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that the data sets' library makes go where the test's files go."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def known() -> list[str]:
    return [f"{text}\nSentiment: {('negative', 'positive')[label]}" for text, label in REVIEWS]


def write_data(folder: Path, rows: list[dict[str, Any]], name: str = "rows") -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def reviews(folder: Path, turned: int = 0) -> Path:
    """The first `turned` labels are the wrong ones."""
    labels = [1 - label if place < turned else label for place, (_, label) in enumerate(REVIEWS)]
    return write_data(
        folder, [{"sentence": text, "label": label} for (text, _), label in zip(REVIEWS, labels, strict=True)]
    )


def write_task(folder: Path, data: Path, name: str = "own_sentiment", extra: str = "", text: str = CHOICE) -> Path:
    place = folder / "tasks"
    place.mkdir(exist_ok=True)
    (place / f"{name}.yaml").write_text(text.format(name=name, data=data) + extra)
    return place


def examine(
    model: Transformer, tokenizer: Tokenizer, folder: Path, name: str = "own_sentiment", **more: Any
) -> TaskResult:
    return evaluate_harness(subject_of(model, tokenizer, folder), [name], folder / "tasks", **more)


# --- figures -----------------------------------------------------------------------------------------


def test_a_model_that_learned_the_answers_gets_them_right(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    write_task(tmp_path, reviews(tmp_path))
    result = examine(learned, tokenizer, tmp_path)
    assert (result.task, result.items) == ("harness", 5)
    assert result.figures["own_sentiment.acc"].value == 1.0
    write_task(tmp_path, reviews(tmp_path, turned=2))
    figure = examine(learned, tokenizer, tmp_path).figures["own_sentiment.acc"]
    assert figure.value == pytest.approx(3 / 5)
    assert figure.low < figure.value < figure.high


def test_the_harness_chooses_by_the_same_likelihoods(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Another model, that has learned nothing, so that its choices are not those of the labels."""
    model = small_model(seed=11)
    write_task(tmp_path, reviews(tmp_path))
    result = examine(model, tokenizer, tmp_path)
    right = 0
    for text, label in REVIEWS:
        options = [(f"{text}\nSentiment:", f" {option}") for option in ("negative", "positive")]
        nats = [scored.nats for scored in continuation_nats(model, tokenizer, options)]
        right += nats.index(min(nats)) == label
    assert result.figures["own_sentiment.acc"].value == pytest.approx(right / 5)


def test_likelihoods_are_those_of_the_harness_own_model(tmp_path: Path) -> None:
    """The same weights as a folder of transformers, which the harness loads and scores by its own code."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer, model = small_tokenizer(tmp_path), small_model(seed=13)
    export_model(model, tmp_path / "tokenizer", tmp_path / "exported")

    def asked(kind: str, begin: bool, *arguments: tuple[str, ...]) -> Any:
        other = HFLM(pretrained=str(tmp_path / "exported"), device="cpu", batch_size=2, add_bos_token=begin)
        instances = [Instance(kind, {}, own, number) for number, own in enumerate(arguments)]  # type: ignore[arg-type]
        return getattr(other, kind)(instances, disable_tqdm=True)

    requests = [("The server blocks the", " router at night."), ("A quick analyst", " B"), ("The proxy", " scans")]
    expected = asked("loglikelihood", True, *requests)
    found = continuation_nats(model, tokenizer, requests)
    assert [(-one.nats, one.greedy) for one in found] == [(pytest.approx(n, rel=1e-4), g) for n, g in expected]
    texts = ["The server blocks the router.", "keys"]
    # Here the harness begins a text itself: asked to begin one too, the model would see two beginnings.
    rolling = asked("loglikelihood_rolling", False, *((text,) for text in texts))
    assert [-one.nats for one in text_nats(model, tokenizer, texts)] == pytest.approx(rolling, rel=1e-4)


def test_no_more_items_than_the_limit_are_scored(learned: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_task(tmp_path, reviews(tmp_path))
    result = examine(learned, tokenizer, tmp_path, limit=2)
    assert (result.items, len(result.predictions)) == (2, 2)


def test_a_metric_that_is_no_mean_is_drawn_by_its_own_aggregation(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    write_task(tmp_path, reviews(tmp_path, turned=1), extra="  - { metric: f1 }\n  - { metric: mcc }\n")
    figures = examine(learned, tokenizer, tmp_path).figures
    # told 1 0 1 0 0, right 0 0 1 0 0: one true positive, one false one, none missed
    assert figures["own_sentiment.f1"].value == pytest.approx(2 / 3)
    assert figures["own_sentiment.mcc"].value == pytest.approx((1 * 3 - 1 * 0) / math.sqrt(2 * 1 * 4 * 3))
    assert figures["own_sentiment.acc"].value == pytest.approx(4 / 5)


def test_texts_are_scored_whole_however_long(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small_model(seed=12)
    texts = [sentences(seed, 6) for seed in range(3)]
    data = write_data(tmp_path, [{"text": text} for text in texts])
    task = (
        "task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files: {{ test: {data} }}\ntest_split: test\n"
        'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: "{{{{text}}}}"\n'
        "metric_list:\n  - {{ metric: bits_per_byte }}\n"
    )
    write_task(tmp_path, data, "own_texts", text=task)
    figure = examine(model, tokenizer, tmp_path, "own_texts").figures["own_texts.bits_per_byte"]
    scored = text_nats(model, tokenizer, texts)
    assert max(one.tokens for one in scored) > 2 * model.config.context
    expected = sum(one.nats for one in scored) / math.log(2) / sum(one.bytes for one in scored)
    assert figure.value == pytest.approx(expected, rel=1e-4)


def test_answers_are_generated_until_what_ends_them(learned: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    task = (
        "task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files: {{ test: {data} }}\ntest_split: test\n"
        'output_type: generate_until\ndoc_to_text: "{{{{sentence}}}}\\nSentiment:"\n'
        "doc_to_target: \"{{{{['negat', 'posit'][label]}}}}\"\n"
        "generation_kwargs: {{ until: ['ive'], max_gen_toks: 12 }}\n"
        'filter_list:\n  - name: first\n    filter:\n      - {{ function: regex, regex_pattern: "([a-z]+)" }}\n'
        "      - {{ function: take_first }}\n"
        "metric_list:\n  - {{ metric: exact_match, aggregation: mean, higher_is_better: true }}\n"
    )
    write_task(tmp_path, reviews(tmp_path, turned=1), "own_answers", text=task)
    result = examine(learned, tokenizer, tmp_path, "own_answers")
    assert result.figures["own_answers.exact_match.first"].value == pytest.approx(4 / 5)
    assert result.details["groups"]["task"]["own_answers"]["items"] == 5


def test_files_and_folders_of_tasks_are_run(learned: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    data = reviews(tmp_path)
    write_task(tmp_path, data, "own_one")
    folder = write_task(tmp_path, data, "own_two")
    subject = subject_of(learned, tokenizer, tmp_path)
    assert set(evaluate(subject, [folder]).figures) == {"own_one.acc", "own_two.acc"}
    assert set(evaluate(subject, [folder / "own_two.yaml"]).figures) == {"own_two.acc"}


def test_a_context_that_did_not_fit_is_counted(learned: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    data = write_data(tmp_path, [{"sentence": sentences(1, 20), "label": 1}])
    write_task(tmp_path, data)
    assert examine(learned, tokenizer, tmp_path).details["shortened"] == 2  # both options


def test_what_was_set_for_a_run_is_as_before_after_it(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    import datasets
    import huggingface_hub.constants
    import lm_eval.utils

    def state() -> list[Any]:
        return [
            lm_eval.utils.env,
            huggingface_hub.constants.HF_HUB_OFFLINE,
            datasets.config.HF_HUB_OFFLINE,
            datasets.is_progress_bar_enabled(),
        ]

    before = state()
    write_task(tmp_path, reviews(tmp_path))
    examine(learned, tokenizer, tmp_path)
    assert state() == before


def test_the_libraries_say_nothing_of_their_own(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path, reviews(tmp_path), extra="  - { metric: f1 }\n")
    set_quiet(True)
    examine(learned, tokenizer, tmp_path)
    assert capfd.readouterr() == ("", "")


# --- what runs nothing -------------------------------------------------------------------------------


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Python beside the tasks that leaves a mark if it is ever imported."""
    (tmp_path / "tasks").mkdir()
    mark = tmp_path / "ran"
    (tmp_path / "tasks" / "evil.py").write_text(f"open({str(mark)!r}, 'w')\ndef f(*a, **k): return a[0]\n")
    return mark


@pytest.mark.parametrize(
    "extra",
    [
        "process_docs: !function evil.f\n",
        "process_docs: !!python/name:evil.f\n",
        "custom_dataset: !function evil.f\n",
        "class: evil.f\n",
        "use_prompt: evil.yaml:x\n",
        "unsafe_code: true\n",
        "  - { metric: tasks/evil.py }\n",
        "  - { metric: accuracy, hf_evaluate: true }\n",
        "dataset_path: pandas\n",
        "dataset_path: ./tasks\n",
        "dataset_path: glue\n",
        "dataset_kwargs: { data_files: { validation: 'https://example.org/a.jsonl' } }\n",
        "fewshot_config: { samples: !function evil.f }\n",
    ],
)
def test_a_task_of_ones_own_that_is_more_than_data_is_refused(
    extra: str, trap: Path, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = write_task(tmp_path, reviews(tmp_path), extra=extra)
    for run in (
        lambda subject: evaluate_harness(subject, ["own_sentiment"], folder),
        lambda subject: evaluate(subject, [folder]),
    ):
        with pytest.raises(ForjaError) as error:
            run(subject_of(learned, tokenizer, tmp_path))
        assert "own_sentiment.yaml" in str(error.value)
    assert not trap.exists()
    assert "evil" not in sys.modules


def test_what_a_task_includes_is_looked_at_too(
    trap: Path, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "base.txt").write_text("process_docs: !function tasks.evil.f\n")
    folder = write_task(tmp_path, reviews(tmp_path), extra="include: ../base.txt\n")
    with pytest.raises(ForjaError, match="!function") as error:
        evaluate_harness(subject_of(learned, tokenizer, tmp_path), ["own_sentiment"], folder)
    assert "base.txt" in str(error.value)
    assert not trap.exists()


def test_a_task_in_a_group_is_looked_at_too(
    trap: Path, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = write_task(tmp_path, reviews(tmp_path))
    (folder / "group.yaml").write_text("group: own_group\ntask:\n  - { task: own_sentiment, dataset_path: pandas }\n")
    with pytest.raises(ForjaError, match="dataset_path: pandas"):
        evaluate_harness(subject_of(learned, tokenizer, tmp_path), ["own_group"], folder)


def test_a_template_cannot_leave_its_sandbox(
    trap: Path, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    escape = "{{{{ ''.__class__.__mro__[1].__subclasses__() }}}}\\nSentiment:"
    folder = write_task(tmp_path, reviews(tmp_path), text=CHOICE.replace("{{{{sentence}}}}\\nSentiment:", escape))
    with pytest.raises(ForjaError, match="SecurityError"):
        evaluate_harness(subject_of(learned, tokenizer, tmp_path), ["own_sentiment"], folder)


def test_the_harness_own_tasks_fetch_nothing(learned: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="cannot be set up") as error:
        evaluate_harness(subject_of(learned, tokenizer, tmp_path), ["sst2"])
    assert "nothing is fetched" in str(error.value)


# --- bad input ---------------------------------------------------------------------------------------


def test_a_name_that_is_no_task_gets_the_nearest_and_a_path_is_no_name(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """The harness itself would read any file that it is given the path of."""
    folder = write_task(tmp_path, reviews(tmp_path))
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text((folder / "own_sentiment.yaml").read_text())
    names = ["own_sentiment", "own_sentimant", str(elsewhere)]
    with pytest.raises(ForjaError) as error:
        evaluate_harness(subject_of(learned, tokenizer, tmp_path), names, folder)
    assert f"no task own_sentimant and no {elsewhere}." in str(error.value)
    assert "Did you mean own_sentiment" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("doc_to_text: ", "doc_to_text: '{{{{nothing}}}}' #"), "failed|cannot be set up"),
        (("rows.jsonl", "none.jsonl"), "cannot be set up"),
        (("validation_split: validation", "validation_split: other"), "failed|cannot be set up"),
        (("task: ", "task: [\n"), "cannot be read"),
    ],
)
def test_a_task_that_does_not_fit_its_data_is_named(
    change: tuple[str, str], said: str, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = write_task(tmp_path, reviews(tmp_path))
    path = folder / "own_sentiment.yaml"
    path.write_text(path.read_text().replace(change[0], change[1].replace("{{{{", "{{").replace("}}}}", "}}")))
    with pytest.raises(ForjaError, match=said) as error:
        evaluate_harness(subject_of(learned, tokenizer, tmp_path), ["own_sentiment"], folder)
    assert "own_sentiment" in str(error.value)


def test_a_folder_without_tasks_is_named(learned: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no task of the harness here"):
        evaluate(subject_of(learned, tokenizer, tmp_path), [tmp_path])
    with pytest.raises(ForjaError, match="no such folder"):
        evaluate_harness(subject_of(learned, tokenizer, tmp_path), ["x"], tmp_path / "none")


def test_an_encoder_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_task(tmp_path, reviews(tmp_path))
    with pytest.raises(ForjaError, match="an encoder gives a text no probability"):
        examine(small_model(architecture="encoder"), tokenizer, tmp_path)


# --- real rows ---------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_rows_of_glue_are_scored_without_training(realdata: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """SST-2 and RTE, as the harness asks them."""
    sst2 = [row.fields for row in read_rows(realdata / "glue/SST-2/dev.tsv")][:40]
    rte = [row.fields for row in read_rows(realdata / "glue/RTE/dev.tsv")][:40]
    told = {"entailment": 0, "not_entailment": 1}
    data = write_data(tmp_path, [{**row, "label": int(row["label"])} for row in sst2], "sst2")
    write_task(tmp_path, data, "own_sst2")
    rte_task = CHOICE.replace(
        "{{{{sentence}}}}\\nSentiment:", "{{{{sentence1}}}}\\nQuestion: {{{{sentence2}}}} True or False?\\nAnswer:"
    ).replace('["negative", "positive"]', '["True", "False"]')
    data = write_data(tmp_path, [{**row, "label": told[row["label"]]} for row in rte], "rte")
    folder = write_task(tmp_path, data, "own_rte", text=rte_task)
    result = evaluate_harness(subject_of(small_model(128), tokenizer, tmp_path), ["own_sst2", "own_rte"], folder)
    assert result.items == 80
    assert set(result.figures) == {"own_sst2.acc", "own_rte.acc"}
    for figure in result.figures.values():
        assert 0.0 < figure.low <= figure.value <= figure.high < 1.0
