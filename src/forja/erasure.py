"""Forgetting documents: every artifact of a run that holds them is planned for, then mended, and the run keeps account.
Making again what has learned from them is in `retraining.py`.

What will be done is written down first, with every figure that the doing would destroy; each act then leaves the
same files however often it is done. So a forgetting that was killed is finished by doing it all again.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forja.corpus.lineage import (
    FORGOTTEN,
    LIST,
    figures_without,
    find_matching,
    find_rows,
    find_subject,
    forgotten_ids,
    remove_documents,
    with_duplicates,
)
from forja.corpus.privacy import read_subject_key
from forja.errors import ForjaError
from forja.lineage import (
    CHECKPOINTS,
    Training,
    exposure_of,
    known_id,
    require_corpus,
    sampled_ids,
    trainings,
    unfinished_training,
)
from forja.pipeline import ERASING, outputs_digest, plan_of, run_one_stage
from forja.pretraining import STAGES
from forja.progress import say
from forja.recipe import Recipe
from forja.recipe_file import load_recipe
from forja.retraining import retrain
from forja.run import Run, digest, output_digests, read_json, write_json_atomic, write_text_atomic
from forja.tokens.erase import Stretch, erase, find_stretches
from forja.training.checkpoints import checkpoint_folder, drop_later
from forja.training.exposure import Stale, joined, last_sound, read_mark, write_mark

FOLDERS = {stage.name: stage.outputs[0] for stage in STAGES}
CHANGED = ("corpus", "tokens")
"""Stages whose outputs are mended in place."""
REPORTS = ("corpus-report", "report")
TAKEN_AS_THEY_ARE = ("tokenizer", "tokens", "pretrain")
"""Stages that need not be run again because of it: they are mended, or marked. Evaluation and report are not here."""


@dataclass(frozen=True)
class Intent:
    """What a forgetting will do, without a word of what is forgotten.

    files: ids by the number of the corpus files that they lie in. marks: by folder, what is stale in it from then on.
    in_line: by stage, the inputs that it had as they were. sampled: how many the tokenizer was trained on.
    """

    erasure: str
    ids: list[str]
    files: dict[int, list[str]]
    kinds: dict[str, int]
    stretches: list[Stretch]
    figures: dict[str, Any]
    in_line: dict[str, list[str]]
    before: dict[str, str]
    sampled: int = 0
    marks: dict[str, Stale] = field(default_factory=dict)
    workshop: Stale | None = None
    workshop_follows: bool = False

    @property
    def tokens(self) -> Counter[str]:
        """Tokens by split."""
        counted: Counter[str] = Counter()
        for stretch in self.stretches:
            counted[stretch.split] += stretch.length
        return counted


def read_intent(run: Run) -> Intent | None:
    """The forgetting that was cut short in this run."""
    told = read_json(run.folder / ERASING)
    if told is None:
        return None
    told["files"] = {int(number): ids for number, ids in told["files"].items()}
    told["stretches"] = [Stretch(**stretch) for stretch in told["stretches"]]
    told["marks"] = {folder: _stale(mark) for folder, mark in told["marks"].items()}
    told["workshop"] = told["workshop"] and _stale(told["workshop"])
    return Intent(**told)


def _stale(told: dict[str, Any]) -> Stale:
    return Stale(**{**told, "steps": tuple(told["steps"])})


# --- planning ----------------------------------------------------------------------------------


def plan_erasure(run: Run, ids: Collection[str], recipe: Recipe, base_folder: Path) -> Intent:
    """What forgetting these documents and their duplicates takes. Nothing is changed but that moves which a kill
    interrupted are finished. The run must be locked."""
    for stage in STAGES:
        run.recover(stage.name)
    corpus = run.folder / "corpus"
    rows = with_duplicates(corpus, ids)
    everything = {*ids, *(found.id for found in rows)}
    stretches = find_stretches(run.folder / "tokens", everything)
    receipts = _receipts(run)
    files: dict[int, list[str]] = {}
    for number, identity in sorted({(found.number, found.id) for found in rows}):
        files.setdefault(number, []).append(identity)
    sampled = len(sampled_ids(run.folder, everything))
    workshop, follows = _workshop(run, stretches, recipe, base_folder)
    return Intent(
        erasure=secrets.token_hex(8),
        ids=sorted(everything),
        files=files,
        kinds=dict(Counter(found.kind for found in rows)),
        stretches=stretches,
        figures=figures_without(receipts["corpus"]["figures"], rows),
        in_line=_in_line(receipts),
        before={
            path: entry["sha256"] for name in CHANGED if name in receipts for path, entry in _outputs(receipts, name)
        },
        sampled=sampled,
        marks=_marks(run, stretches, sampled, receipts),
        workshop=workshop,
        workshop_follows=follows,
    )


def _receipts(run: Run) -> dict[str, dict[str, Any]]:
    """Receipts by stage; of a stage whose outputs are damaged too, as they must be mended all the same."""
    found = {name: read_json(run.folder / folder / "receipt.json") for name, folder in FOLDERS.items()}
    return {name: receipt for name, receipt in found.items() if receipt is not None}


def _outputs(receipts: dict[str, dict[str, Any]], name: str) -> list[tuple[str, dict[str, Any]]]:
    return sorted(receipts[name]["outputs"].items())


def _in_line(receipts: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """By stage, the inputs from stages that are mended which are those that it was built from."""
    return {
        name: [
            need
            for need in CHANGED
            if need in receipts and receipts[name]["plan"]["inputs"].get(need) == outputs_digest(receipts[need])
        ]
        for name in TAKEN_AS_THEY_ARE
        if name in receipts
    }


def _marks(run: Run, stretches: list[Stretch], sampled: int, receipts: dict[str, dict[str, Any]]) -> dict[str, Stale]:
    """Marks by folder, those that lie there already taken in."""
    marks: dict[str, Stale] = {}
    if sampled:
        marks["tokenizer"] = Stale(sampled)
    for training in trainings(run.folder):
        if training.best is None:
            continue
        exposure = exposure_of(run.folder, training, stretches)
        if exposure.first is None and exposure.judged_from is None:
            continue
        mark = Stale(_used(run, training, stretches), exposure.first, exposure.judged_from, tuple(exposure.seen))
        marks[CHECKPOINTS] = mark
        if training.best in mark.steps and "export" in receipts:
            marks["model"] = mark
    return {folder: joined(read_mark(run.folder / folder), mark) for folder, mark in marks.items()}


def _used(run: Run, training: Training, stretches: list[Stretch]) -> int:
    """How many documents this training has read or judged by."""
    by_document: dict[str, list[Stretch]] = {}
    for stretch in stretches:
        by_document.setdefault(stretch.id, []).append(stretch)
    found = (exposure_of(run.folder, training, own) for own in by_document.values())
    return sum(exposure.first is not None or exposure.judged_from is not None for exposure in found)


def _workshop(run: Run, stretches: list[Stretch], recipe: Recipe, base_folder: Path) -> tuple[Stale | None, bool]:
    """What an unfinished training has used, and whether it goes on from what this run holds now."""
    training = unfinished_training(run.folder)
    if training is None:
        return None, False
    exposure = exposure_of(run.folder, training, stretches)
    stale = Stale(0, exposure.first, exposure.judged_from, tuple(exposure.seen))
    try:
        fingerprint = digest(plan_of("pretrain", run, recipe, base_folder))
    except ForjaError:
        return stale, False
    return stale, (read_json(training.folder / "plan.json") or {}).get("fingerprint") == fingerprint


# --- doing -------------------------------------------------------------------------------------


def write_intent(run: Run, intent: Intent) -> None:
    """From here on the run is refused to all until `carry_out` is through."""
    write_json_atomic(run.folder / ERASING, asdict(intent))


def carry_out(run: Run, intent: Intent, recipe: Recipe, base_folder: Path) -> None:
    """Mend every artifact, and tell the ledger. Done again from the start after a kill, it ends the same."""
    _list_forgotten(run, intent)
    _clear_workshops(run)
    if "model" in intent.marks:
        # Their samples are the word of a model that has read what is forgotten.
        shutil.rmtree(run.folder / "report", ignore_errors=True)
        (run.folder / "report.html").unlink(missing_ok=True)
    remove_documents(run.folder / "corpus", intent.files)
    if intent.stretches:
        erase(run.folder / "tokens", intent.stretches)
    receipts = _mend_receipts(run, intent)
    _mend_training_workshop(run, intent, recipe, base_folder)
    for folder, mark in intent.marks.items():
        write_mark(run.folder / folder, mark)
    _tell_ledger(run, intent, receipts)
    (run.folder / ERASING).unlink()


def _list_forgotten(run: Run, intent: Intent) -> None:
    ids = forgotten_ids(run.folder) | set(intent.ids)
    (run.folder / LIST).parent.mkdir(exist_ok=True)
    write_text_atomic(run.folder / LIST, "".join(json.dumps({"id": identity}) + "\n" for identity in sorted(ids)))


def _clear_workshops(run: Run) -> None:
    """What killed stages left half done may hold text. A training holds none, and is seen to apart."""
    for stage in STAGES:
        if stage.name != "pretrain":
            shutil.rmtree(run.building(stage.name), ignore_errors=True)


def _mend_receipts(run: Run, intent: Intent) -> dict[str, dict[str, Any]]:
    """Receipts as if the stages had left what is there now; returns them by stage."""
    receipts = _receipts(run)
    for stage in STAGES:
        receipt = receipts.get(stage.name)
        if receipt is None:
            continue
        if stage.name in CHANGED:
            receipt["outputs"] = output_digests(run.folder, stage.outputs, aside=stage.aside)
        if stage.name == "corpus":
            receipt["figures"] = intent.figures
        if stage.name == "tokens":
            receipt["figures"]["splits"] = (read_json(run.folder / "tokens" / "meta.json") or {})["splits"]
        for need in intent.in_line.get(stage.name, ()):
            receipt["plan"]["inputs"][need] = outputs_digest(receipts[need])
        receipt["fingerprint"] = digest(receipt["plan"])
        write_json_atomic(run.folder / stage.outputs[0] / "receipt.json", receipt)
    return receipts


def _mend_training_workshop(run: Run, intent: Intent, recipe: Recipe, base_folder: Path) -> None:
    """An unfinished training loses the checkpoints that have used what is forgotten, and goes on from those before."""
    place = run.building("pretrain")
    if intent.workshop is None or not intent.workshop_follows:
        shutil.rmtree(place, ignore_errors=True)
        return
    drop_later(place / CHECKPOINTS, last_sound(place / CHECKPOINTS, intent.workshop))
    fingerprint = digest(plan_of("pretrain", run, recipe, base_folder))
    write_json_atomic(place / "plan.json", {"fingerprint": fingerprint})


def _tell_ledger(run: Run, intent: Intent, receipts: dict[str, dict[str, Any]]) -> None:
    ledger = run.folder / "audit" / "ledger.jsonl"
    if ledger.is_file() and f'"erasure": "{intent.erasure}"' in ledger.read_text(encoding="utf-8").rpartition("\n")[0]:
        return
    after = {path: entry["sha256"] for name in CHANGED if name in receipts for path, entry in _outputs(receipts, name)}
    changed = {
        path: {"before": intent.before.get(path), "after": after.get(path)}
        for path in sorted({*intent.before, *after})
        if intent.before.get(path) != after.get(path)
    }
    run.append_ledger(
        {
            "event": "erasure",
            "erasure": intent.erasure,
            "ids": intent.ids,
            "documents": intent.kinds,
            "tokens": dict(intent.tokens),
            "artifacts": changed,
            "receipts": {name: digest(receipts[name]) for name in (*CHANGED, *intent.in_line) if name in receipts},
            "stale": {folder: asdict(mark) for folder, mark in intent.marks.items()},
        }
    )


# --- the whole of it -----------------------------------------------------------------------------


def forget(
    run: Run,
    *,
    ids: Sequence[str] = (),
    match: str | None = None,
    subject: str | None = None,
    deep: bool = False,
    again: bool = False,
    confirm: Callable[[dict[str, Any]], bool],
) -> dict[str, Any]:
    """Take documents and their duplicates out of every artifact of a run; returns what was done, and what is owed.

    ids: or unique first digits; match: a regular expression on text, origin and meta; subject: a person's e-mail
    address. again: train again what has learned from them; deep: the tokenizer too. confirm: is told what will be
    done, and whether it may be. A forgetting that was cut short here is finished first. Raises ForjaError.
    """
    recipe, base_folder = load_recipe(str(run.folder / "recipe.yaml"))
    with run.locked():
        require_corpus(run.folder)
        done = read_intent(run)
        if done is not None:
            say(f"finishing what was cut short: {len(done.ids):,} documents are being forgotten")
            carry_out(run, done, recipe, base_folder)
        elif not (ids or match or subject or again or deep):
            raise ForjaError("nothing says what to forget.", fix="Give --id ID, --match REGEX or --subject EMAIL.")
        chosen = _chosen(run, ids, match, subject, recipe, base_folder)
        if chosen:
            done = plan_erasure(run, chosen, recipe, base_folder)
            if not confirm(_summary(run, done)):
                return {"run": str(run.folder), "status": "nothing was changed"}
            write_intent(run, done)
            carry_out(run, done, recipe, base_folder)
    told = {"run": str(run.folder), **(_summary(run, done) if done else {"status": "nothing to forget"})}
    if again or deep:
        made = retrain(run, deep=deep)
        told["retrained"] = {"from_step": made.start, "stages": {each.stage: each.status for each in made.stages}}
    else:
        _report_again(run, recipe, base_folder)
    return told


def _report_again(run: Run, recipe: Recipe, base_folder: Path) -> None:
    """What reports say of the corpus, and of a model that has learned from what is gone, is no longer so."""
    for stage in STAGES:
        if stage.name in REPORTS and any((run.folder / output).exists() for output in stage.outputs):
            try:
                run_one_stage(run, recipe, base_folder, stage.name)
            except ForjaError as error:
                say(f"all is forgotten, but the {stage.name} could not be written again: {error}")


def _chosen(
    run: Run, ids: Sequence[str], match: str | None, subject: str | None, recipe: Recipe, base_folder: Path
) -> set[str]:
    corpus = run.folder / "corpus"
    chosen = {known_id(run.folder, prefix) for prefix in ids}
    if match is not None:
        chosen |= find_matching(corpus, match)
    if subject is not None:
        chosen |= find_subject(corpus, subject, _subject_key(recipe, base_folder))
    return chosen - _gone(run, chosen)


def _gone(run: Run, ids: Collection[str]) -> set[str]:
    """Those of which a trace alone is left."""
    rows = find_rows(run.folder / "corpus", ids)
    held = {found.id for found in rows if found.row["reason"] != FORGOTTEN}
    held |= {stretch.id for stretch in find_stretches(run.folder / "tokens", ids)}
    return set(ids) & forgotten_ids(run.folder) - held


def _subject_key(recipe: Recipe, base_folder: Path) -> bytes:
    name = recipe.corpus.subject_key_file
    if name is None:
        raise ForjaError(
            "the run keeps no subjects: its recipe names no key.",
            where="corpus.subject_key_file",
            fix="Use --match, or name a key there for the next run.",
        )
    return read_subject_key(base_folder / Path(name).expanduser())


def _summary(run: Run, intent: Intent) -> dict[str, Any]:
    """What a person is asked, and told: counts, and what has learned from it."""
    owed = intent.marks.get(CHECKPOINTS)
    return {
        "erasure": intent.erasure,
        "ids": intent.ids,
        "documents": intent.kinds,
        "tokens": dict(intent.tokens),
        "tokenizer": {"sampled": intent.sampled},
        "checkpoints": [checkpoint_folder(Path(CHECKPOINTS), step).as_posix() for step in owed.steps] if owed else [],
        "model": "model" in intent.marks,
        "first_use": owed.trained_from if owed else None,
        "judged_from": owed.judged_from if owed else None,
        "retrain_from": last_sound(run.folder / CHECKPOINTS, owed) if owed else None,
    }
