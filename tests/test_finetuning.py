"""Fine-tuning as a user does it: a base, a file of examples, a command; and what becomes of it."""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from forja.corpus.rows import read_rows
from forja.models import hf
from forja.models.hub import load_run_model
from forja.pipeline import run_stages
from forja.recipe_file import load_recipe
from forja.run import Run
from made import PLACES, SUBJECTS, VERBS, environment, forja, tiny_project

SETTINGS = ("finetune.precision=fp32", "finetune.threads=1", "finetune.optimizer.rate=3e-3", "finetune.batch=8")
WORDS = {"spam": ["win", "prize", "free", "claim", "cash"], "ham": ["meeting", "report", "notes", "lunch", "review"]}


def write_mails(path: Path, count: int, seed: int = 0) -> None:
    """A CSV of texts whose class a few words tell, by a sender's region."""
    choose = random.Random(seed)
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "source", "region"])
        for number in range(count):
            label = choose.choice(["ham", "spam"])
            words = choose.sample(WORDS[label], 2)
            text = f"The {choose.choice(SUBJECTS)} {words[0]} {choose.choice(PLACES)} {words[1]} {seed}{number}"
            rows.writerow([text, label, "made", choose.choice(["north", "south"])])


def write_chats(path: Path, count: int) -> None:
    choose = random.Random(1)
    rows = []
    for number in range(count):
        thing = choose.choice(SUBJECTS)
        asked = f"What does the {thing} do in case {number}?"
        rows.append({"instruction": asked, "input": "", "output": f"It {VERBS[SUBJECTS.index(thing)]}."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_pairs(path: Path, count: int) -> None:
    rows = [
        {"prompt": f"Case {number}: may I share it?", "chosen": "No, it stays.", "rejected": "Yes, go on."}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pretrained run `tiny` and files of examples."""
    folder = tmp_path_factory.mktemp("finetuning")
    recipe, base = load_recipe(str(tiny_project(folder)))
    run_stages(Run(folder / "runs" / "tiny"), recipe, base, last="export")
    write_mails(folder / "mails.csv", 240)
    write_mails(folder / "others.csv", 60, seed=9)
    write_chats(folder / "chats.jsonl", 160)
    write_pairs(folder / "pairs.jsonl", 60)
    (folder / "texts.jsonl").write_text((folder / "text.jsonl").read_text())
    return folder


def tune(project: Path, recipe: str, data: str, name: str, *overrides: str, base: str = "tiny") -> Run:
    """A finished run, made in this process."""
    found = project / "runs" / base
    loaded, folder = load_recipe(
        recipe,
        (*SETTINGS, *overrides),
        name=name,
        base=str(found) if found.is_dir() else base,
        data=[str(project / data)],
    )
    run = Run(project / "runs" / name)
    run_stages(run, loaded, folder)
    return run


def figures(run: Run, task: str) -> dict[str, float]:
    told = json.loads((run.folder / "evaluation" / f"{task}.json").read_text())
    return {name: figure["value"] for name, figure in told["figures"].items()}


def test_three_commands_take_a_csv_to_verdicts(project: Path) -> None:
    runs = project / "runs"
    done = forja(
        "finetune", "classify", "--data", project / "mails.csv", "--base", runs / "tiny", "--name", "triage",
        *SETTINGS, "finetune.epochs=6", runs=runs,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on 2" in done.stdout  # examples that it was not shown
    assert "forja classify triage" in done.stdout
    measured = forja("evaluate", "triage", "--data", project / "others.csv", "--json", runs=runs)
    assert measured.returncode == 0, measured.stderr
    told = json.loads(measured.stdout)
    assert {"f1", "precision", "recall", "auroc", "items"} <= told.keys()
    assert told["items"] == 60
    assert told["auroc"] > 0.9
    said = forja("classify", "triage", "The parser free at night prize", "--json", runs=runs)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)[0]["label"] == "spam"
    lines = forja("classify", "triage", runs=runs, stdin="The kernel lunch in the lab notes\nwin cash now\n")
    assert [line.split("\t")[0] for line in lines.stdout.splitlines()] == ["ham", "spam"]
    again = forja(
        "finetune", "classify", "--data", project / "mails.csv", "--base", runs / "tiny", "--name", "triage",
        *SETTINGS, "finetune.epochs=6", runs=runs,
    )  # fmt: skip
    assert "Nothing to do" in again.stdout, again.stderr
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(runs / "triage" / "model")
    assert theirs.config.id2label == {0: "ham", 1: "spam"}
    assert isinstance(theirs, hf.ForjaForSequenceClassification)


def test_a_classifier_with_lora_trains_little_and_tells_apart(project: Path) -> None:
    run = tune(
        project,
        "classify",
        "mails.csv",
        "lora",
        "finetune.epochs=8",
        "finetune.ngrams=0",
        "finetune.lora={rank: 4}",
        "finetune.optimizer.rate=1e-2",
    )
    receipt = run.receipt("training")
    assert receipt is not None
    assert receipt["figures"]["trained_parameters"] < 0.3 * receipt["figures"]["parameters"]
    assert figures(run, "classification")["auroc"] > 0.9


def test_the_learning_curve_has_a_point_a_share_for_both_starts(project: Path) -> None:
    run = tune(project, "classify", "mails.csv", "curve", "finetune.epochs=2", "finetune.learning_curve=[0.2, 1.0]")
    told = json.loads((run.folder / "evaluation" / "learning_curve.json").read_text())
    assert [point["examples"] for point in told["points"]] == sorted(point["examples"] for point in told["points"])
    assert len(told["points"]) == 2
    assert all({"value", "low", "high"} <= point[kind].keys() for point in told["points"]
               for kind in ("transfer", "scratch"))  # fmt: skip


def test_a_chat_run_answers_as_it_was_taught(project: Path) -> None:
    run = tune(project, "chat", "chats.jsonl", "helper", "finetune.epochs=12", "finetune.optimizer.rate=6e-3")
    assert figures(run, "held-out")["perplexity"] < 3
    runs = project / "runs"
    asked = "What does the server do in case 7?\n\n"
    said = forja("chat", "helper", "--temperature", 0, "--max-tokens", 8, runs=runs, stdin=asked)
    assert said.returncode == 0, said.stderr
    assert "It " in said.stdout
    assert "not tuned to chat" not in said.stderr


def test_continued_pretraining_lowers_perplexity_on_the_new_text(project: Path) -> None:
    run = tune(project, "continue", "texts.jsonl", "ours", "finetune.epochs=3")
    loss = json.loads((run.folder / "training" / "result.json").read_text())["valid_loss"]
    lines = [json.loads(line) for line in (run.folder / "training" / "log.jsonl").read_text().splitlines()]
    first = next(line["loss"] for line in lines if "loss" in line)
    assert loss < first
    model, tokenizer = load_run_model(run.folder)
    assert model(torch.tensor([tokenizer.encode("The server")])).shape[-1] == 32


def test_preferences_are_learned(project: Path) -> None:
    run = tune(project, "prefer", "pairs.jsonl", "kinder", "finetune.epochs=8", "finetune.optimizer.rate=2e-3")
    assert figures(run, "preference")["preferred"] == 1.0


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_models_of_other_families_are_fine_tuned_alike(kind: str, project: Path, tmp_path: Path) -> None:
    from models.bases import save_base

    folder = save_base(kind, tmp_path / kind, project / "runs" / "tiny" / "tokenizer")
    run = tune(project, "classify", "mails.csv", f"from-{kind}", "finetune.epochs=6", base=str(folder))
    assert figures(run, "classification")["auroc"] > 0.9
    if kind == "llama":
        chat = tune(project, "chat", "chats.jsonl", "llama-chat", "finetune.epochs=2", base=str(folder))
        assert figures(chat, "held-out")["perplexity"] < 200
        said = forja("generate", "llama-chat", "The server", "--max-tokens", 5, runs=project / "runs")
        assert said.returncode == 0, said.stderr


def test_frozen_layers_stay_what_the_base_has(project: Path) -> None:
    run = tune(project, "classify", "mails.csv", "frozen", "finetune.epochs=1", "finetune.freeze_layers=1")
    before, _ = load_run_model(project / "runs" / "tiny")
    after = transformers.AutoModelForSequenceClassification.from_pretrained(run.folder / "model")
    assert torch.equal(after.transformer.embedding.weight, before.embedding.weight)
    theirs = after.transformer.blocks
    assert torch.equal(theirs[0].ffn.down.weight, before.blocks[0].ffn.down.weight)
    assert not torch.equal(theirs[1].ffn.down.weight, before.blocks[1].ffn.down.weight)


def test_a_killed_fine_tuning_ends_with_the_same_bytes(project: Path) -> None:
    runs = project / "runs"
    common = ["--data", str(project / "mails.csv"), "--base", str(runs / "tiny"), *SETTINGS]
    common += ["finetune.epochs=10", "finetune.checkpoint_every=5", "finetune.valid_every=10"]
    whole = forja("finetune", "classify", *common, "--name", "whole", runs=runs)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "forja", "finetune", "classify", *common, "--name", "cut"]
    log = runs / "cut" / ".building" / "finetune" / "training" / "log.jsonl"
    process = subprocess.Popen(command, env=environment(runs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 30):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    ended = forja("finetune", "classify", *common, "--name", "cut", runs=runs)
    assert ended.returncode == 0, ended.stderr
    assert "going on from step" in ended.stderr
    one, two = (runs / name / "model" / "model.safetensors" for name in ("whole", "cut"))
    assert one.read_bytes() == two.read_bytes()


def spoil(project: Path, name: str, change: Callable[[list[list[str]]], list[list[str]]]) -> Path:
    with open(project / "mails.csv", newline="") as file:
        rows = change(list(csv.reader(file)))
    with open(project / name, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return project / name


def test_bad_examples_are_a_sentence_and_exit_one(project: Path) -> None:
    runs = project / "runs"

    def refused(data: Path | str, *rest: str, base: Path | str = runs / "tiny", recipe: str = "classify") -> str:
        done = forja("finetune", recipe, "--data", data, "--base", base, "--name", "bad", *SETTINGS, *rest, runs=runs)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "labels are missing" in refused(spoil(project, "a.csv", lambda rows: [row[:1] for row in rows]))
    one_empty = spoil(project, "b.csv", lambda rows: [*rows[:3], [rows[3][0], "", *rows[3][2:]], *rows[4:]])
    assert "row 3" in refused(one_empty)
    one_class = spoil(project, "c.csv", lambda rows: [rows[0], *(r for r in rows[1:] if r[1] == "ham")])
    assert "all examples are of one class (ham)" in refused(one_class)
    assert "there is no such file" in refused(project / "nothing.csv")
    assert "no layout of chat examples" in refused(project / "mails.csv", recipe="chat")
    assert "neither a run nor a Hugging Face folder" in refused(project / "mails.csv", base=project / "nowhere/at/all")
    assert "is not a recipe key" in refused(project / "mails.csv", "finetune.epoch=3")


def test_rows_that_a_training_example_reads_like_are_not_scored(project: Path) -> None:
    run = tune(project, "classify", "mails.csv", "leaky", "finetune.epochs=1")
    done = forja("evaluate", "leaky", "--data", project / "mails.csv", "--json", runs=project / "runs")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    receipt = run.receipt("examples")
    assert receipt is not None
    assert told["items"] == receipt["figures"]["test"]
    assert sum(told["removed"].values()) >= receipt["figures"]["train"]


@pytest.fixture(scope="module")
def wide(project: Path) -> str:
    """A run that reads 256 tokens at once, as real conversations need."""
    overrides = ("tokens.context=256", "training.steps=20", "tokens.valid_fraction=0.3")
    recipe, base = load_recipe(str(project / "tiny.yaml"), overrides, name="wide")
    run_stages(Run(project / "runs" / "wide"), recipe, base, last="export")
    return "wide"


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("recipe", "name", "task", "figure"),
    [
        ("classify", "phishing/sms_spam.csv.gz", "classification", "f1"),
        ("classify", "phishing/urls.csv.gz", "classification", "auroc"),
        ("chat", "sft/alpaca_en.jsonl.gz", "held-out", "perplexity"),
        ("chat", "sft/hackmentor_security_seed.jsonl.gz", "held-out", "perplexity"),
        ("continue", "corpora/security/cve_text.jsonl.gz", "held-out", "perplexity"),
        ("prefer", "sft/hh_rlhf_harmless.jsonl.gz", "preference", "preferred"),
    ],
)
def test_real_rows_are_learned_from(
    recipe: str, name: str, task: str, figure: str, project: Path, wide: str, realdata: Path
) -> None:
    run = tune(
        project, recipe, str(realdata / name), f"real-{Path(name).name.split('.')[0]}", "examples.limit=300",
        "finetune.epochs=1", base=wide,
    )  # fmt: skip
    told = json.loads((run.folder / "evaluation" / f"{task}.json").read_text())
    assert told["items"] > 5
    assert told["figures"][figure]["low"] <= told["figures"][figure]["value"] <= told["figures"][figure]["high"]
    assert (run.folder / "report.html").is_file()


@pytest.mark.realdata
def test_fairness_is_measured_and_trained_for_on_real_mails(project: Path, realdata: Path) -> None:
    found = [row.fields for row in read_rows(realdata / "phishing" / "enron_spam.csv.gz")]
    random.Random(0).shuffle(found)
    folders = {"enron-spam/enron1": "north", "enron-spam/enron4": "south"}  # one mostly ham, one mostly spam
    rows = [(row["text"], row["label"], folders[row["source"]]) for row in found if row["source"] in folders]
    for name, part in (("fair.csv", rows[:400]), ("fair-others.csv", rows[400:600])):
        with open(project / name, "w", newline="") as file:
            csv.writer(file).writerows([("text", "label", "region"), *part])
    run = tune(project, "classify", "fair.csv", "fair", "finetune.epochs=1", "finetune.fair_by=region")
    done = forja("evaluate", "fair", "--data", project / "fair-others.csv", "--json", runs=project / "runs")
    assert done.returncode == 0, done.stderr
    told = json.loads((run.folder / "evaluation" / "classification-fair-others.json").read_text())
    fairness = told["details"]["fairness"]
    assert fairness["group"] == "region"
    assert set(fairness["by_group"]) == {"north", "south"}
    assert 0 <= fairness["demographic_parity_difference"]["value"] <= 1
    assert {"threshold-optimizer", "reweighing"} <= fairness["mitigated"].keys()
