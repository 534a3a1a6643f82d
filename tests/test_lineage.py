"""What became of a document is told from its source to the checkpoints, and forgetting it leaves a run as if it had
been a gap from the first step, however often that is cut short."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from forja.erasure import forget
from forja.errors import ForjaError
from forja.lineage import explain, show
from forja.pipeline import ERASING, run_stages
from forja.progress import set_quiet
from forja.recipe import Recipe
from forja.recipe_file import load_recipe
from forja.run import Run, digest, read_json
from forja.training.checkpoints import list_checkpoints
from forja.training.pretrain import best_checkpoint, pretrain
from made import TINY_RECIPE, environment, forja, sentences, write_corpus

LADDER = TINY_RECIPE.replace("  checkpoint_every: 10", "  checkpoint_every: 10\n  keep_every: 10").replace(
    "    - path: text.jsonl", "    - path: text.jsonl\n  subject_key_file: key"
)
WORD = "Zanzibar"
PERSON = "ann.example@example.org"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over 301 documents, one a copy and one about a person; its recipe lies in project/."""
    folder = tmp_path_factory.mktemp("whole")
    project = folder / "project"
    project.mkdir()
    write_corpus(project / "text.jsonl", 300)
    with open(project / "text.jsonl", "a") as file:
        file.write(json.dumps({"id": "person", "text": f"{sentences(777_777, 12)} {WORD} asked {PERSON} why."}) + "\n")
    (project / "key").write_text("a key of sixteen or more bytes")
    (project / "tiny.yaml").write_text(LADDER)
    set_quiet(True)
    bring_up_to_date(folder / "runs" / "tiny", project)
    return folder


def bring_up_to_date(run: Path, project: Path) -> list[str]:
    """Run every stage; returns those that were not up to date."""
    recipe, base = load_recipe(str(project / "tiny.yaml"))
    return [each.stage for each in run_stages(Run(run), recipe, base) if each.status == "done"]


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "runs" / "tiny", tmp_path / "tiny", symlinks=True))


def take_out(run: Path, *ids: str, **wanted: Any) -> dict[str, Any]:
    return forget(Run(run), ids=ids, confirm=lambda planned: True, **wanted)


def documents(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run / "corpus" / "documents-00000.parquet").to_pylist()
    return rows


def read_at(run: Path, first: int, last: int) -> str:
    """A document that the training first reads at a batch (from 0) in this range."""
    for row in documents(run):
        uses = explain(run, row["id"])["training"][0]["uses"]
        if uses and first <= uses[0]["step"] < last and row["cluster"] is None:
            return str(row["id"])
    raise AssertionError("no such document")


def in_split(run: Path, split: str) -> str:
    index = pq.read_table(run / "tokens" / f"{split}-index.parquet")
    return str(index["id"][0].as_py())


def copy_of_a_document(run: Path) -> tuple[str, str]:
    """The rejected copy's id and the kept document's."""
    rows = pq.read_table(run / "corpus" / "rejected-00000.parquet").to_pylist()
    return next((row["id"], row["duplicate_of"]) for row in rows if row["reason"] == "exact-duplicate")


def contents(run: Path) -> dict[str, str]:
    """Digests of every file but the ledger and the lock; nothing hidden may be left."""
    files = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    kept = {name: path for name, path in files.items() if name not in (".lock", "audit/ledger.jsonl")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(kept.items())}


def erasures(run: Path) -> list[dict[str, Any]]:
    """The ledger's erasures, once its chain is found whole."""
    previous, events = "0" * 64, []
    for line in (run / "audit" / "ledger.jsonl").read_text().splitlines():
        entry = json.loads(line)
        kept = entry.pop("hash")
        assert entry["previous"] == previous
        assert digest(entry) == kept
        previous = kept
        events.append(entry)
    return [event for event in events if event["event"] == "erasure"]


# --- explaining ------------------------------------------------------------------------------------


def test_a_kept_document_is_followed_from_its_source_to_the_checkpoints(run: Path) -> None:
    identity = read_at(run, 25, 35)
    told = explain(run, identity[:10])
    row = next(row for row in documents(run) if row["id"] == identity)
    assert (told["id"], told["status"], told["source"], told["origin"]) == (
        identity,
        "kept",
        "text.jsonl",
        row["origin"],
    )
    assert told["lang"] == "en"
    assert told["tokenizer"] == {"sampled": True}
    (place,) = told["tokens"]
    assert place["split"] == "train"
    stride = 32
    assert place["slots"] == [-((32 - place["start"]) // stride), (place["start"] + place["length"] - 1) // stride]
    (training,) = told["training"]
    assert 25 <= training["uses"][0]["step"] < 35
    seen = [step for step in list_checkpoints(run / "checkpoints") if step > training["uses"][0]["step"]]
    assert training["checkpoints"] == [f"checkpoints/step-{step:08d}" for step in seen]
    assert training["model"]
    assert show(run, identity)["text"] == row["text"]


def test_a_duplicate_is_explained_by_what_it_is_a_duplicate_of(run: Path) -> None:
    copy, kept = copy_of_a_document(run)
    told = explain(run, copy)
    assert (told["status"], told["reason"], told["duplicate_of"]) == ("rejected", "exact-duplicate", kept)
    assert told["cluster"] == {"id": min(copy, kept), "others": [{"id": kept, "status": "kept", "reason": None}]}
    assert told["tokens"] == []
    assert show(run, copy)["text"] is None


def test_masked_words_are_told_by_their_placeholders(run: Path) -> None:
    identity = next(row["id"] for row in documents(run) if WORD in row["text"])
    assert explain(run, identity)["masked"] == {"email": 1}


# --- forgetting ------------------------------------------------------------------------------------


def test_forgetting_takes_a_document_and_its_copy_out_of_everything_and_is_not_undone(whole: Path, run: Path) -> None:
    copy, kept = copy_of_a_document(run)
    text = next(row["text"] for row in documents(run) if row["id"] == kept)
    before = Run(run).receipt("training")
    told = take_out(run, copy[:8])
    assert set(told["ids"]) == {copy, kept}
    assert told["documents"] == {"documents": 1, "rejected": 1}
    for identity in (copy, kept):
        assert explain(run, identity)["status"] == "forgotten"
        assert explain(run, identity)["tokens"] == []
    assert all(row["text"] != text for row in documents(run))
    assert not (run / ERASING).exists()

    (event,) = erasures(run)
    assert set(event["ids"]) == {copy, kept}
    assert text[:40] not in json.dumps(event)
    for path, digests in event["artifacts"].items():
        assert digests["before"] != digests["after"]
        assert hashlib.sha256((run / path).read_bytes()).hexdigest() == digests["after"]
    assert {"corpus/documents-00000.parquet", "tokens/train-00000.bin"} <= set(event["artifacts"])

    # Nothing is built again but what measures and reports.
    after = Run(run).receipt("training")
    assert before is not None
    assert after is not None
    assert after["outputs"] == before["outputs"]
    assert set(bring_up_to_date(run, whole / "project")) <= {"evaluate", "report", "corpus-report"}
    assert all(row["id"] not in (copy, kept) for row in documents(run))


def test_a_corpus_built_again_does_not_bring_it_back(whole: Path, run: Path) -> None:
    identity = read_at(run, 0, 60)
    take_out(run, identity)
    shutil.rmtree(run / "corpus")
    recipe, base = load_recipe(str(whole / "project" / "tiny.yaml"))
    run_stages(Run(run), recipe, base, last="corpus")
    assert all(row["id"] != identity for row in documents(run))
    assert explain(run, identity)["status"] == "forgotten"


def test_the_report_names_a_stale_model_and_shows_no_word_of_it(run: Path) -> None:
    identity = read_at(run, 0, 60)
    assert read_json(run / "report" / "samples.json")
    told = take_out(run, identity)
    assert told["model"]
    assert "since forgotten" in (run / "report.html").read_text()
    assert read_json(run / "report" / "samples.json") == []


def test_figures_follow_what_is_left(run: Path) -> None:
    identity = read_at(run, 0, 60)
    row = next(row for row in documents(run) if row["id"] == identity)
    before, after = read_json(run / "metrics.json"), None
    take_out(run, identity)
    after = read_json(run / "metrics.json")
    assert after["corpus.documents.kept"] == before["corpus.documents.kept"] - 1
    assert after["corpus.bytes.kept"] == before["corpus.bytes.kept"] - len(row["text"].encode())
    assert after["tokens.splits.train.documents"] == before["tokens.splits.train.documents"] - 1
    assert after["tokens.splits.train.tokens"] == before["tokens.splits.train.tokens"]


def test_documents_are_chosen_by_words_and_by_person(run: Path, tmp_path: Path) -> None:
    identity = next(row["id"] for row in documents(run) if WORD in row["text"])
    other = Path(shutil.copytree(run, tmp_path / "other"))
    assert take_out(run, match=rf"\b{WORD}\b")["ids"] == [identity]
    assert take_out(run, match=rf"\b{WORD}\b")["status"] == "nothing to forget"
    assert take_out(other, subject=PERSON.upper())["ids"] == [identity]
    assert PERSON not in (other / "audit" / "ledger.jsonl").read_text()


def test_a_held_out_document_is_not_measured_on_and_makes_no_checkpoint_stale(whole: Path, run: Path) -> None:
    told = take_out(run, in_split(run, "test"))
    assert told["checkpoints"] == []
    assert not told["model"]
    old = read_json(run / "evaluation" / "perplexity.json")["test"]
    bring_up_to_date(run, whole / "project")
    new = read_json(run / "evaluation" / "perplexity.json")["test"]
    assert new["documents"] == old["documents"] - 1
    assert new["tokens"] < old["tokens"]
    assert new["bytes"] < old["bytes"]
    assert read_json(run / "report" / "samples.json")


def test_only_what_was_asked_is_done(run: Path) -> None:
    before = contents(run)
    asked: list[dict[str, Any]] = []

    def refuse(planned: dict[str, Any]) -> bool:
        asked.append(planned)
        return False

    told = forget(Run(run), ids=[documents(run)[0]["id"]], confirm=refuse)
    assert told["status"] == "nothing was changed"
    assert len(asked) == 1
    assert contents(run) == before


# --- training again --------------------------------------------------------------------------------


def trained_with_the_gap(run: Path, workspace: Path) -> Path:
    """The same training from its first step over the shards as they are now."""
    recipe: Recipe = load_recipe(str(run / "recipe.yaml"))[0]
    workspace.mkdir()
    pretrain(recipe.training, recipe.model, run / "tokens", workspace, seed=recipe.seed)
    return workspace


def same_checkpoints(run: Path, reference: Path) -> None:
    steps = list_checkpoints(reference / "checkpoints")
    assert list_checkpoints(run / "checkpoints") == steps
    for step in steps:
        for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
            path = Path("checkpoints") / f"step-{step:08d}" / name
            assert (run / path).read_bytes() == (reference / path).read_bytes(), path


def test_training_again_gives_the_bits_of_a_run_that_had_the_gap_from_the_first_step(
    whole: Path, run: Path, tmp_path: Path
) -> None:
    identity = read_at(run, 25, 35)
    told = take_out(run, identity, again=True)
    start = told["retrained"]["from_step"]
    assert start in (20, 30)
    assert told["retrain_from"] == start
    same_checkpoints(run, trained_with_the_gap(run, tmp_path / "reference"))
    old, new = (best_checkpoint(place) / "model.safetensors" for place in (whole / "runs" / "tiny", run))
    assert old.read_bytes() != new.read_bytes()
    kept = Path("checkpoints") / f"step-{start:08d}" / "model.safetensors"
    assert (run / kept).read_bytes() == (whole / "runs" / "tiny" / kept).read_bytes()
    assert not list(run.rglob("stale.json")) or [path.parent.name for path in run.rglob("stale.json")] == ["tokenizer"]
    assert "since forgotten" not in (run / "report.html").read_text()
    assert read_json(run / "report" / "samples.json")
    assert bring_up_to_date(run, whole / "project") == []


def test_forgetting_now_and_training_again_later_comes_to_the_same(whole: Path, run: Path, tmp_path: Path) -> None:
    take_out(run, read_at(run, 40, 50))
    take_out(run, read_at(run, 15, 25), in_split(run, "valid"))
    told = take_out(run, again=True)
    # Validations looked at the last one from step 10 on, and chose the best checkpoint by it.
    assert told["retrained"]["from_step"] == 0
    same_checkpoints(run, trained_with_the_gap(run, tmp_path / "reference"))
    assert bring_up_to_date(run, whole / "project") == []


def test_a_training_that_began_with_counts_of_all_documents_is_made_again_from_its_first_step(
    whole: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(whole / "project", tmp_path / "project"))
    counting = LADDER.replace("ffn_width: 64", "ffn_width: 64, tie_embeddings: false").replace(
        "  steps: 60", "  first_weights: bigrams\n  steps: 30"
    )
    (project / "tiny.yaml").write_text(counting)
    run = tmp_path / "tiny"
    bring_up_to_date(run, project)
    late = next(
        row["id"]
        for row in documents(run)
        if (training := explain(run, row["id"])["training"][0])["first_weights"]
        and (not training["uses"] or training["uses"][0]["step"] >= 20)
    )
    held_out = explain(run, in_split(run, "test"))["training"][0]
    assert not held_out["first_weights"]
    steps = list_checkpoints(run / "checkpoints")
    told = take_out(run, late)
    assert told["checkpoints"] == [f"checkpoints/step-{step:08d}" for step in steps]
    assert told["retrain_from"] == 0
    assert take_out(run, again=True)["retrained"]["from_step"] == 0
    same_checkpoints(run, trained_with_the_gap(run, tmp_path / "reference"))


def test_deep_makes_the_run_that_never_had_the_document(whole: Path, run: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(whole / "project", tmp_path / "project"))
    lines = (project / "text.jsonl").read_text().splitlines(keepends=True)
    assert WORD in lines[-1]
    (project / "text.jsonl").write_text("".join(lines[:-1]))
    # Each in a process of its own, as users do: that two trainings in one process agree to the last bit is not said.
    made = forja("run", project / "tiny.yaml", "--name", "without", "--quiet", runs=tmp_path)
    assert made.returncode == 0, made.stderr
    identity = next(row["id"] for row in documents(run) if WORD in row["text"])
    forgotten = forja("data", "forget", run, "--id", identity, "--deep", "--yes", "--json", runs=tmp_path)
    assert forgotten.returncode == 0, forgotten.stderr
    told = json.loads(forgotten.stdout)
    for name in ("tokenizer/tokenizer.json", "tokens/train-00000.bin", "model/model.safetensors"):
        assert (run / name).read_bytes() == (tmp_path / "without" / name).read_bytes(), name
    assert told["tokenizer"] == {"sampled": 1}
    assert told["retrained"]["stages"]["tokenizer"] == "done"
    assert not list(run.rglob("stale.json"))
    assert not list(run.glob("tokens/*-erased.parquet"))
    assert bring_up_to_date(run, whole / "project") == []


def test_an_unfinished_training_goes_on_from_before_what_is_forgotten(whole: Path, run: Path, tmp_path: Path) -> None:
    """Stopped at step 60 of 60, before its receipt was written; it is as if training were still to go on."""
    identity = read_at(run, 25, 35)
    place = run / ".building" / "pretrain"
    recipe, base = load_recipe(str(whole / "project" / "tiny.yaml"))
    receipt = read_json(run / "training" / "receipt.json")
    place.mkdir(parents=True)
    (place / "plan.json").write_text(json.dumps({"fingerprint": receipt["fingerprint"]}))
    shutil.move(run / "checkpoints", place / "checkpoints")
    shutil.move(run / "training", place / "training")
    (place / "training" / "receipt.json").unlink()
    shutil.rmtree(run / "model")
    assert explain(run, identity)["training"][0]["finished"] is False
    take_out(run, identity)
    assert max(list_checkpoints(place / "checkpoints")) in (20, 30)
    run_stages(Run(run), recipe, base)
    same_checkpoints(run, trained_with_the_gap(run, tmp_path / "reference"))


# --- killed ----------------------------------------------------------------------------------------

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
left = int(sys.argv[3])

def counted(real):
    def act(*arguments, **keys):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keys)
    return act

os.replace, os.fsync, shutil.rmtree = counted(os.replace), counted(os.fsync), counted(shutil.rmtree)
Path.unlink = counted(Path.unlink)
import forja.erasure
from forja.run import Run
forja.erasure.forget(Run(Path(sys.argv[1])), ids=[sys.argv[2]], confirm=lambda planned: True)
print(1000 - left)
"""


def test_a_forgetting_killed_at_any_act_is_finished_by_the_same_command(run: Path, tmp_path: Path) -> None:
    for output in ("report", "report.html", "corpus-report", "corpus-report.html", "metrics.json"):
        shutil.rmtree(run / output) if (run / output).is_dir() else (run / output).unlink(missing_ok=True)
    copy, _ = copy_of_a_document(run)

    def attempt(place: Path, act: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(place), copy, str(act)]
        return subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=300)

    calm = Path(shutil.copytree(run, tmp_path / "calm"))
    ended = attempt(calm, 1000)
    assert ended.returncode == 0, ended.stderr
    acts = int(ended.stdout)
    assert acts > 30
    expected = contents(calm)
    for act in [*range(1, acts + 1, 7), acts]:
        place = Path(shutil.copytree(run, tmp_path / f"killed-{act}"))
        assert attempt(place, act).returncode == -9
        take_out(place, copy)
        assert contents(place) == expected, act
        assert len(erasures(place)) == 1
        shutil.rmtree(place)


def test_training_again_killed_at_any_act_goes_on(run: Path, tmp_path: Path) -> None:
    identity = read_at(run, 25, 35)
    take_out(run, identity)
    reference = trained_with_the_gap(run, tmp_path / "reference")
    script = KILLED.replace("confirm=", "again=True, confirm=")
    for act in (2, 6, 12, 40, 60):
        place = Path(shutil.copytree(run, tmp_path / f"killed-{act}"))
        command = [sys.executable, "-c", script, str(place), identity, str(act)]
        ended = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=300)
        assert ended.returncode == -9, ended.stderr
        told = take_out(place, identity, again=True)
        assert told["retrained"]["stages"]["report"] == "done"
        same_checkpoints(place, reference)
        shutil.rmtree(place)


def test_a_run_half_forgotten_is_refused_until_it_is_finished(whole: Path, run: Path, tmp_path: Path) -> None:
    copy, _ = copy_of_a_document(run)
    command = [sys.executable, "-c", KILLED, str(run), copy, "20"]
    assert subprocess.run(command, env=environment(tmp_path), capture_output=True, timeout=300).returncode == -9
    assert (run / ERASING).exists()
    with pytest.raises(ForjaError, match="cut short"):
        bring_up_to_date(run, whole / "project")
    take_out(run)
    assert explain(run, copy)["status"] == "forgotten"


# --- the command -----------------------------------------------------------------------------------


def test_the_command_shows_explains_and_forgets(run: Path) -> None:
    copy, kept = copy_of_a_document(run)
    shown = forja("data", "show", run, "--id", kept[:9], runs=run.parent)
    assert shown.returncode == 0
    assert next(row["text"] for row in documents(run) if row["id"] == kept) in shown.stdout
    told = forja("data", "explain", "tiny", "--id", kept[:9], runs=run.parent)
    assert f"duplicates: {copy} (exact-duplicate)" in told.stdout
    assert "the exported model has trained on it" in told.stdout
    as_json = forja("data", "explain", "tiny", "--id", kept[:9], "--json", runs=run.parent)
    assert json.loads(as_json.stdout) == json.loads(json.dumps(explain(run, kept)))
    ended = forja("data", "forget", "tiny", "--id", kept[:9], "--yes", "--json", runs=run.parent)
    assert ended.returncode == 0, ended.stderr
    assert set(json.loads(ended.stdout)["ids"]) == {copy, kept}
    again = forja("data", "forget", "tiny", "--id", kept[:9], "--yes", runs=run.parent)
    assert (again.returncode, again.stdout) == (0, "Nothing to forget.\n")


def test_bad_input_is_a_sentence(run: Path) -> None:
    identity = documents(run)[0]["id"]
    for arguments, sentence in (
        (("forget", "tiny", "--id", identity), "Give --yes"),
        (("forget", "tiny", "--yes"), "nothing says what to forget"),
        (("forget", "tiny", "--match", "[", "--yes"), "regular expression"),
        (("forget", "tiny", "--id", "f" * 32, "--yes"), "no document here has the id"),
        (("explain", "tiny", "--id", "nothing"), "is no document id"),
        (("explain", "nowhere", "--id", identity), "there is no run"),
    ):
        ended = forja("data", *arguments, runs=run.parent, stdin="")
        assert ended.returncode == 1, arguments
        assert sentence in ended.stderr
        assert "Traceback" not in ended.stderr
    with Run(run).locked():
        ended = forja("data", "forget", "tiny", "--id", identity, "--yes", runs=run.parent)
    assert ended.returncode == 1
    assert "another process is working on this run" in ended.stderr
