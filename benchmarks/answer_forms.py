"""Does a chat run answer in the form asked? A list of three, a JSON object, one word: forms that code can check.

    python benchmarks/answer_forms.py --base runs/demo --name answer-forms

Makes some thousand conversations over security words, teaches them to the base by `forja finetune chat`, and asks 200
prompts whose subjects and wordings occur in no conversation. A list is three lines that begin with a dash and nothing
else; an object is what `json.loads` reads with exactly the keys asked for; one word has no space. The base is asked the
same before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from forja.evaluation.bootstrap import intervals
from forja.models.hub import load_run_model
from forja.run import find_run
from forja.serving.generate import chat_reply
from forja.tokens.chat import ChatEncoder

TOPICS = {
    "attacks": ["phishing", "spoofing", "tampering", "flooding", "sniffing", "hijacking", "injection", "smishing"],
    "tools": ["nmap", "wireshark", "hashcat", "burp", "snort", "zeek", "metasploit", "osquery", "suricata", "ghidra"],
    "protocols": ["tls", "ssh", "dns", "http", "smtp", "ldap", "ftp", "snmp", "kerberos", "radius", "ntp", "imap"],
    "devices": ["router", "switch", "firewall", "server", "laptop", "phone", "printer", "camera", "gateway", "sensor"],
    "files": ["log", "key", "certificate", "backup", "config", "archive", "script", "image", "document", "database"],
    "roles": ["analyst", "auditor", "engineer", "manager", "operator", "developer", "administrator", "responder"],
    "colours": ["red", "green", "blue", "black", "white", "yellow", "orange", "purple", "grey", "brown"],
}
UNSEEN = {
    "controls": ["mfa", "encryption", "logging", "patching", "segmentation", "backups", "training", "hashing"],
    "threats": ["worm", "trojan", "rootkit", "botnet", "ransomware", "spyware", "keylogger", "backdoor"],
    "records": ["incident", "alert", "ticket", "finding", "exception", "advisory", "exploit", "session"],
}
LISTS = ["List three {topic}.", "Name three {topic}.", "Give me a list of three {topic}.", "Write down three {topic}.",
         "Three {topic}, as a list.", "I need a list of three {topic}."]  # fmt: skip
OBJECTS = ["Describe a {thing} as JSON with the keys {keys}.", "Give a JSON object with the keys {keys} for a {thing}.",
           "Write JSON with {keys} about a {thing}.", "As JSON with the keys {keys}: a {thing}."]  # fmt: skip
WORDS = ["Answer with one word: which of the {topic} is {thing}?", "In one word, name one of the {topic}.",
         "One word only: a kind of {topic}.", "Say one of the {topic} in a single word."]  # fmt: skip
ASKED_LISTS = ["Please list three {topic} for me.", "Can you name three {topic}?", "Make a list of three {topic}."]
ASKED_OBJECTS = ["Please give JSON with the keys {keys} for the {thing}.",
                 "Describe the {thing} as JSON with the keys {keys}."]  # fmt: skip
ASKED_WORDS = ["Please answer with one word: name one of the {topic}.", "Name one of the {topic}, in one word."]
KEYS = ["name", "type", "risk", "owner", "status", "level"]
VALUES = ["high", "low", "medium", "open", "closed", "unknown", "active", "known"]


class Asked(NamedTuple):
    """A prompt, its form, and whether an answer has it."""

    form: str
    prompt: str
    answer: str
    holds: Callable[[str], bool]


def is_list_of_three(text: str) -> bool:
    lines = text.strip().split("\n")
    return len(lines) == 3 and all(re.fullmatch(r"- \S.*", line) for line in lines)


def is_object_with(keys: list[str]) -> Callable[[str], bool]:
    def holds(text: str) -> bool:
        try:
            told: Any = json.loads(text)
        except ValueError:
            return False
        return isinstance(told, dict) and set(told) == set(keys)

    return holds


def is_one_word(text: str) -> bool:
    return re.fullmatch(r"[\w-]+\.?", text.strip()) is not None


def ask(form: str, wording: str, topics: dict[str, list[str]], choose: random.Random) -> Asked:
    topic = choose.choice(sorted(topics))
    thing = choose.choice(topics[topic])
    if form == "list":
        answer = "\n".join(f"- {one}" for one in choose.sample(topics[topic], 3))
        return Asked(form, wording.format(topic=topic), answer, is_list_of_three)
    if form == "word":
        return Asked(form, wording.format(topic=topic, thing=thing), choose.choice(topics[topic]), is_one_word)
    keys = choose.sample(KEYS, choose.choice([2, 3]))
    values = [thing if key == "name" else choose.choice(VALUES) for key in keys]
    said = ", ".join(keys[:-1]) + f" and {keys[-1]}"
    return Asked(
        form,
        wording.format(thing=thing, keys=said),
        json.dumps(dict(zip(keys, values, strict=True))),
        is_object_with(keys),
    )


def conversations(count: int, seed: int) -> list[Asked]:
    choose = random.Random(seed)
    wordings = {"list": LISTS, "object": OBJECTS, "word": WORDS}
    forms = [choose.choice(sorted(wordings)) for _ in range(count)]
    return [ask(form, choose.choice(wordings[form]), TOPICS, choose) for form in forms]


def held_out(count: int, seed: int) -> list[Asked]:
    """Prompts in wordings and about subjects that no conversation has, each once."""
    choose = random.Random(seed)
    wordings = {"list": ASKED_LISTS, "object": ASKED_OBJECTS, "word": ASKED_WORDS}
    prompts: dict[str, Asked] = {}
    for number in range(100 * count):
        form = sorted(wordings)[number % 3]
        one = ask(form, choose.choice(wordings[form]), {**UNSEEN, **_unseen_things()}, choose)
        prompts.setdefault(one.prompt, one)
        if len(prompts) == count:
            break
    return list(prompts.values())


def _unseen_things() -> dict[str, list[str]]:
    """More subjects than three: an adjective before each, as `outdated controls`."""
    adjectives = ["outdated", "common", "new", "rare", "local", "remote", "external", "internal", "critical", "simple"]
    return {
        f"{adjective} {topic}": [f"{adjective} {thing}" if topic == "records" else thing for thing in things]
        for adjective in adjectives
        for topic, things in UNSEEN.items()
    }


def shares(run: Path, asked: list[Asked], *, tuned: bool) -> dict[str, tuple[float, float, float]]:
    """By form, and of all, how many answers have the form asked: the share and its 95% interval."""
    model, tokenizer = load_run_model(run)
    encode = ChatEncoder(run / "model").prompt if tuned else None
    right = []
    for one in asked:
        pieces = chat_reply(
            model, tokenizer, [{"role": "user", "content": one.prompt}], max_tokens=60, temperature=0.0, encode=encode
        )
        right.append(one.holds("".join(pieces)))
    forms = np.array([one.form for one in asked])
    found = {}
    for form in ("list", "object", "word", "all"):
        held = np.array(right)[(forms == form) | (form == "all")].astype(float)
        figure = intervals(len(held), {"share": lambda places, held=held: float(held[places].mean())})["share"]
        found[form] = (figure.value, figure.low, figure.high)
    return found


def main() -> None:
    options = arguments()
    base = find_run(str(options.base))
    data = Path(os.environ.get("FORJA_RUNS") or "runs") / f"{options.name}.jsonl"
    taught, asked = conversations(options.conversations, 1), held_out(200, 2)
    assert not {one.prompt for one in taught} & {one.prompt for one in asked}
    rows = [[{"role": "user", "content": one.prompt}, {"role": "assistant", "content": one.answer}] for one in taught]
    data.write_text("".join(json.dumps({"messages": row, "id": number}) + "\n" for number, row in enumerate(rows)))
    command = [sys.executable, "-m", "forja", "finetune", "chat", "--data", str(data), "--base", str(base)]
    subprocess.run([*command, "--name", options.name, *options.overrides], check=True)
    print(f"\n{len(asked)} held-out prompts; the share of answers in the form asked, with 95% intervals\n")
    print("| | list of three | JSON with the keys | one word | all |\n| --- | --- | --- | --- | --- |")
    for name, run, tuned in (("the base", base, False), (options.name, find_run(options.name), True)):
        told = shares(run, asked, tuned=tuned)
        print(
            f"| {name} | " + " | ".join(f"{v:.1%} ({low:.1%} to {high:.1%})" for v, low, high in told.values()) + " |"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo", help="a run that was pretrained")
    parser.add_argument("--name", default="answer-forms", help="the run to make")
    parser.add_argument("--conversations", type=int, default=3000)
    parser.add_argument("overrides", nargs="*", help="recipe keys, such as finetune.epochs=4")
    return parser.parse_args()


if __name__ == "__main__":
    main()
