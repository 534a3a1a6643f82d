"""`forja data`: look at a run's documents, ask what became of one, and forget it. Thin, as `cli.py` is."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from forja.errors import ForjaError
from forja.options import JsonOption, RunArgument, print_json
from forja.progress import set_quiet
from forja.run import Run, find_run

data_app = typer.Typer(
    help="A run's documents: show one, explain what became of it, forget it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
IdOption = Annotated[
    str, typer.Option("--id", help="The document's id, or as many of its first digits as no other has.")
]


@data_app.command("show")
def show_command(run: RunArgument, identity: IdOption, as_json: JsonOption = False) -> None:
    """Print a document as the corpus holds it.

    Example: forja data show demo --id 4ead1f55
    """
    from forja.lineage import show

    told = show(find_run(run), identity)
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        if name != "text" and value not in (None, [], {}):
            print(f"{name}: {json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value}")
    print()
    print("(its text is not kept)" if told["text"] is None else told["text"])


@data_app.command("explain")
def explain_command(run: RunArgument, identity: IdOption, as_json: JsonOption = False) -> None:
    """Say where a document came from, what was done to it, where it lies and what has trained on it.

    Example: forja data explain demo --id 4ead1f55
    """
    from forja.lineage import explain

    told = explain(find_run(run), identity)
    if as_json:
        print_json(told)
        return
    for line in _explained(told):
        print(line)


@data_app.command("forget")
def forget_command(
    run: RunArgument,
    identities: Annotated[
        list[str] | None, typer.Option("--id", help="A document's id, or its unique first digits; repeatable.")
    ] = None,
    match: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Documents whose text, origin or meta it finds.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="Documents by or about a person, by corpus.subject_key_file.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train again, from the last checkpoint that has not seen them.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Train again, and make the tokenizer anew first if it was trained on them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take documents and their duplicates out of every artifact of a run, for good.

    Example: forja data forget demo --id 4ead1f55 --retrain
    """
    from forja.erasure import forget

    set_quiet(as_json)

    def confirm(planned: dict[str, Any]) -> bool:
        if yes:
            return True
        if as_json or not sys.stdin.isatty():
            raise ForjaError("this cannot be undone, and there is no one to ask.", fix="Give --yes to do it.")
        for line in _owed(planned):
            print(line)
        return typer.confirm("Forget them? This cannot be undone")

    told = forget(
        Run(find_run(run)),
        ids=identities or (),
        match=match,
        subject=subject,
        deep=deep,
        again=retrain,
        confirm=confirm,
    )
    if as_json:
        print_json(told)
        return
    for line in _forgotten(told):
        print(line)


# --- in words ------------------------------------------------------------------------------------


def _explained(told: dict[str, Any]) -> list[str]:
    named = {"source": "source", "origin": "from", "licence": "licence", "date": "dated", "lang": "language"}
    lines = [f"{told['id']}  {_status(told)}"]
    lines += [f"{word}: {told[name]}" for name, word in named.items() if told[name]]
    if told["meta"]:
        lines.append(f"meta: {json.dumps(told['meta'], ensure_ascii=False)}")
    lines += [f"flagged: {flag['kind']} ({_brief(flag.get('evidence'))})" for flag in told["flags"]]
    if told["masked"]:
        lines.append("masked: " + ", ".join(f"{kind} {count:,}" for kind, count in told["masked"].items()))
    if told["cluster"]:
        others = (f"{each['id']} ({each['reason'] or each['status']})" for each in told["cluster"]["others"])
        lines.append("duplicates: " + ", ".join(others))
    lines.append(f"tokenizer: {'trained on it' if told['tokenizer']['sampled'] else 'not trained on it'}")
    lines += [_place(place) for place in told["tokens"]] or ["tokens: in no shard"]
    return lines + [line for training in told["training"] for line in _trained(training)]


def _status(told: dict[str, Any]) -> str:
    if told["status"] != "rejected":
        return str(told["status"])
    of = f" of {told['duplicate_of']}" if told["duplicate_of"] else ""
    return f"rejected: {told['reason']}{of}" + (f" ({_brief(told['detail'])})" if told["detail"] else "")


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"


def _place(place: dict[str, Any]) -> str:
    slots = place["slots"]
    read = f"slots {slots[0]:,} to {slots[1]:,}" if slots else "in no whole sequence"
    return f"tokens: {place['split']} {place['start']:,} to {place['start'] + place['length'] - 1:,}, {read}"


def _trained(training: dict[str, Any]) -> list[str]:
    name = "training" if training["finished"] else "training, unfinished"
    if not training["same_shards"]:
        return [f"{name}: it read other shards than these, so whether it has read this cannot be told"]
    lines = [
        f"{name}: epoch {use['epoch']}, first at step {use['step'] + 1:,}, {use['steps']:,} of its batches"
        for use in training["uses"]
    ] or [f"{name}: never read in {training['steps']:,} steps"]
    if training["first_weights"]:
        lines.insert(0, f"{name}: counted among the pairs of tokens that its first weights were fitted to")
    if training["judged_from"] is not None:
        lines.append(f"{name}: validations look at it, from step {training['judged_from']:,} on")
    if training["checkpoints"]:
        lines.append("checkpoints that have trained on it: " + ", ".join(training["checkpoints"]))
        lines.append(f"the exported model {'has' if training['model'] else 'has not'} trained on it")
    return lines


def _owed(told: dict[str, Any]) -> list[str]:
    """What is, or will be, taken out, and what has learned from it."""
    counts = ", ".join(f"{kind} {count:,}" for kind, count in told["documents"].items()) or "none in the corpus"
    lines = [f"documents: {len(told['ids']):,} with their duplicates ({counts})"]
    tokens = ", ".join(f"{split} {count:,}" for split, count in told["tokens"].items())
    lines.append(f"tokens: {tokens or 'in no shard'}")
    sampled = told["tokenizer"]["sampled"]
    lines.append(
        f"tokenizer: trained on {sampled:,} of them; --deep makes it anew" if sampled else "tokenizer: owes nothing"
    )
    if told["checkpoints"]:
        lines.append(f"must be trained again: {', '.join(told['checkpoints'])}{', model' if told['model'] else ''}")
        start = told["retrain_from"]
        lines.append(f"--retrain goes on from {f'the checkpoint of step {start:,}' if start else 'the first step'}")
    elif told["judged_from"] is not None:
        lines.append("checkpoints: none has trained on it; validations looked at it, and chose the best by it")
    else:
        lines.append("checkpoints: none has trained on it")
    return lines


def _forgotten(told: dict[str, Any]) -> list[str]:
    lines = ["Forgotten.", *_owed(told)] if "ids" in told else []
    made = told.get("retrained")
    if made is None:
        return lines or [told["status"].capitalize() + "."]
    done = [stage for stage, status in made["stages"].items() if status == "done"]
    return [
        *lines,
        f"trained again from step {made['from_step']:,}: {', '.join(done)} done" if done else "all is up to date",
    ]
