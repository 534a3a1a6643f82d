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
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from forja.models.hub import load_run_model
from forja.run import find_run, runs_folder
from forja.serving.generate import chat_reply
from forja.tokens.chat import ChatEncoder

TOPICS = {
    "attack": "phishing spoofing tampering flooding sniffing hijacking smishing pretexting baiting skimming",
    "tool": "nmap wireshark hashcat burp snort zeek metasploit osquery suricata ghidra",
    "protocol": "tls ssh dns http smtp ldap ftp snmp kerberos radius ntp imap",
    "device": "router switch laptop phone printer camera gateway sensor modem tablet",
    "file": "script image document spreadsheet archive binary library installer manifest",
    "role": "analyst auditor engineer manager operator developer administrator responder",
    "colour": "red green blue black white yellow orange purple grey brown",
    "language": "python rust java ruby perl go lua haskell kotlin swift",
    "system": "linux windows freebsd android solaris minix ubuntu debian fedora",
    "cipher": "aes des rsa blowfish twofish salsa serpent camellia",
    "browser": "firefox chrome safari opera brave edge lynx",
    "sector": "banking energy health transport defence retail farming mining",
    "city": "london madrid paris tokyo lima cairo oslo rome delhi",
    "animal": "cat dog horse cow goat sheep lion tiger",
    "metal": "iron copper silver gold zinc lead tin nickel",
    "fruit": "apple pear plum cherry grape lemon melon peach",
    "flaw": "overflow injection traversal deserialization race leak underflow misconfiguration",
    "database": "postgres mysql sqlite oracle redis cassandra mongodb mariadb",
    "cloud": "amazon azure google alibaba hetzner linode vultr",
    "month": "january march april june july august october december",
    "instrument": "piano violin flute drum guitar harp trumpet cello",
    "room": "kitchen office hall cellar attic garage bathroom bedroom",
    "tree": "oak pine birch elm maple willow cedar beech",
    "format": "json xml yaml csv toml parquet pdf html",
}
UNSEEN_TOPICS = {
    "control": "mfa encryption logging patching segmentation backups awareness hashing",
    "threat": "worm trojan rootkit botnet ransomware spyware keylogger backdoor",
    "record": "incident alert ticket finding exception advisory exploit session",
    "planet": "mercury venus mars jupiter saturn uranus neptune",
    "vendor": "cisco fortinet juniper checkpoint sophos crowdstrike splunk",
    "framework": "nist iso owasp mitre cis pci hipaa",
    "vehicle": "truck bus tram ferry bicycle scooter",
    "bird": "eagle owl robin sparrow falcon heron",
}
LISTS = ["List three {topic}s.", "Name three {topic}s.", "Give me a list of three {topic}s.", "Three {topic}s, please.",
         "Write down three {topic}s.", "I need a list of three {topic}s.", "Tell me three {topic}s as a list.",
         "Could you name three {topic}s?", "What are three {topic}s? Answer with a list.", "Show me three {topic}s.",
         "Which three {topic}s do you know?", "For my notes: three {topic}s.", "Would you list three {topic}s?",
         "Give three {topic}s."]  # fmt: skip
OBJECTS = ["Describe a {thing} as JSON with the keys {keys}.", "Give a JSON object with the keys {keys} for {thing}.",
           "Write JSON with {keys} about {thing}.", "As JSON with the keys {keys}: {thing}.",
           "Fill in {keys} for {thing} and answer in JSON.", "Could you describe {thing} in JSON with {keys}?",
           "I need {keys} of {thing} as a JSON object.", "What do you know of {thing}? Answer in JSON with {keys}.",
           "Show {thing} as a JSON object, keys {keys}.", "Would you give JSON for {thing}, with {keys}?"]  # fmt: skip
WORDS = ["Name one {topic} in one word.", "In one word, name a {topic}.", "One word only: a kind of {topic}.",
         "Say a {topic} in a single word.", "Could you name a {topic} in one word?", "One {topic}, one word.",
         "Tell me a {topic}. Use one word.", "Answer with a single word: which {topic} comes to mind?",
         "What is {thing}? Answer in one word.", "In a single word, what kind of thing is {thing}?",
         "Would you say in one word what {thing} is?", "I need one word: a {topic}."]  # fmt: skip
UNSEEN_LISTS = ["Please list three {topic}s for me.", "Can you name three {topic}s?", "Make a list of three {topic}s.",
                "Write a list with three {topic}s."]  # fmt: skip
UNSEEN_OBJECTS = ["Please give JSON with the keys {keys} for {thing}.", "Can you write {thing} as JSON with {keys}?",
                  "Make a JSON object about {thing} with the keys {keys}."]  # fmt: skip
UNSEEN_WORDS = ["Please answer with one word: name a {topic}.", "Can you tell me a {topic} in one word?",
                "Give me a single word for what {thing} is.", "Write one word: a {topic}."]  # fmt: skip
OPENINGS = ["", "", "I write a report.", "We train new people.", "Hello!", "It is for a quiz.", "I am in a hurry.",
            "My manager wonders.", "This is a test.", "A question.", "Let us begin.", "Thanks for this."]  # fmt: skip
UNSEEN_OPENINGS = ["", "I prepare a talk.", "Good morning.", "We hold an exercise."]
KEYS = ["name", "type", "risk", "owner", "status", "level", "use", "age", "size", "source"]
VALUES = ["high", "low", "medium", "open", "closed", "unknown", "active", "known", "small", "large"]
FORMS = {"list": (LISTS, UNSEEN_LISTS), "object": (OBJECTS, UNSEEN_OBJECTS), "word": (WORDS, UNSEEN_WORDS)}


class Asked(NamedTuple):
    """A prompt, its form, an answer of that form, and whether another has it."""

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


def ask(form: str, wording: str, topics: dict[str, str], choose: random.Random) -> Asked:
    topic = choose.choice(sorted(topics))
    things = topics[topic].split()
    thing = choose.choice(things)
    if form == "list":
        answer = "\n".join(f"- {one}" for one in choose.sample(things, 3))
        return Asked(form, wording.format(topic=topic), answer, is_list_of_three)
    if form == "word":
        answer = topic if "{thing}" in wording else thing
        return Asked(form, wording.format(topic=topic, thing=thing), answer, is_one_word)
    keys = choose.sample(KEYS, choose.choice([2, 3]))
    values = {"name": thing, "type": topic}
    told = {key: values.get(key) or choose.choice(VALUES) for key in keys}
    said = ", ".join(keys[:-1]) + f" and {keys[-1]}"
    return Asked(form, wording.format(thing=thing, keys=said), json.dumps(told), is_object_with(keys))


def distinct(count: int, seed: int, *, held_out: bool) -> list[Asked]:
    """So many prompts, each once, as many of each form as of another."""
    choose = random.Random(seed)
    topics, openings = (UNSEEN_TOPICS, UNSEEN_OPENINGS) if held_out else (TOPICS, OPENINGS)
    found: dict[str, Asked] = {}
    for share, form in enumerate(sorted(FORMS), 1):
        while len(found) < count * share // len(FORMS):
            wording = f"{choose.choice(openings)} {choose.choice(FORMS[form][held_out])}".strip()
            one = ask(form, wording, topics, choose)
            found.setdefault(one.prompt, one)
    return list(found.values())


def require_apart(taught: list[Asked], asked: list[Asked]) -> None:
    """No prompt, no wording and no subject is on both sides."""
    assert not {one.prompt for one in taught} & {one.prompt for one in asked}
    nouns = [
        {word for topic, things in one.items() for word in (topic, *things.split())} for one in (TOPICS, UNSEEN_TOPICS)
    ]
    assert not nouns[0] & nouns[1]
    assert not any(set(seen) & set(unseen) for seen, unseen in FORMS.values())
    assert all(one.holds(one.answer) for one in (*taught, *asked))


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
    held = {form: [one for one, asks in zip(right, asked, strict=True) if asks.form == form] for form in sorted(FORMS)}
    return {form: share_of(sum(of), len(of)) for form, of in {**held, "all": right}.items()}


def share_of(right: int, count: int) -> tuple[float, float, float]:
    """A share and its 95% interval (Wilson 1927), which has a width where none or all are right too."""
    share, z = right / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    width = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return share, middle - width, middle + width


def main() -> None:
    options = arguments()
    base = find_run(str(options.base))
    data = runs_folder() / f"{options.name}.jsonl"
    data.parent.mkdir(exist_ok=True)
    taught, asked = distinct(options.conversations, 1, held_out=False), distinct(200, 2, held_out=True)
    require_apart(taught, asked)
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
    parser.add_argument("--conversations", type=int, default=4000)
    parser.add_argument("overrides", nargs="*", help="recipe keys, such as finetune.epochs=4")
    return parser.parse_args()


if __name__ == "__main__":
    main()
