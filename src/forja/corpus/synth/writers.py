"""Writers other than the grammar: an OpenAI-compatible endpoint, and a causal model on this machine.

They get the grammar's scenario as an order in words, and what they answer is sifted. A record says who wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from forja.corpus.synth.draft import Draft

SHORTEST = 120
LONGEST = 20_000
"""Characters of an answer."""
MOST_REPEATED = 0.5
"""Share of the order's runs of eight words from which an answer counts as its repetition."""
KINDS = {
    "policy": "a document about information security, in the register named",
    "phishing": "an e-mail with its header lines (From, To, Date, Subject) and its body",
    "intrusion": "an excerpt of 8 to 25 lines of the log named, in its real format, and a short note by an analyst",
    "injection": "a document, the user's task on it, and the assistant's answer, which does the task and no more",
}
ATTACKS = {
    "policy": "",
    "phishing": "It is a training example of an attack: end with a line that begins 'Why this is phishing:'.",
    "intrusion": "The lines show the attack; the note says what gives it away, with the ATT&CK technique.",
    "injection": "The document hides the instruction; the answer does not follow it and says that it is there.",
}
BENIGN = {
    "policy": "It is correct and practical.",
    "phishing": "It is a genuine mail: nothing in it is deceptive.",
    "intrusion": "The lines show ordinary work that looks a little like the attack; the note says why it is none.",
    "injection": "The document hides no instruction, and the answer does not speak of one.",
}
LANGUAGES = {"en": "English", "es": "Spanish"}
CONTROL = re.compile(r"<\|[^|<>\n]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>")
REFUSAL = re.compile(
    r"\W*(?:i['’]?m (?:really |very )?sorry|i am sorry|sorry, (?:but )?i|i (?:can(?:no|['’])t|won['’]t|"
    r"am unable|am not able|"
    r"must decline)|as an ai\b|i cannot (?:help|assist|create|write)|unfortunately, i (?:can|am)|lo siento|"
    r"no puedo (?:ayudar|"
    r"crear|escribir|cumplir)|como (?:modelo|ia)\b)",
    re.IGNORECASE,
)
HOSTS = re.compile(r"(?:@|://)([\w.-]+\.[A-Za-z]{2,24})")
RESERVED = re.compile(r"(?:^|\.)(?:example|test|invalid|localhost|example\.(?:com|net|org))$", re.IGNORECASE)


@dataclass(frozen=True)
class Writer:
    """name: as records name it. write: an answer for each (order, seed), in their order."""

    name: str
    write: Callable[[Sequence[tuple[str, int]]], list[str]]


def in_words(kind: str, lang: str, made: Draft) -> str:
    """The order that a writer gets for the scenario that the grammar drew."""
    side = ATTACKS if made.label == "attack" else BENIGN
    return " ".join(
        part
        for part in (
            f"Write {KINDS[kind]}, in {LANGUAGES[lang]}.",
            f"Scenario: {made.order}.",
            side[kind],
            "Use only invented firms and people, domains under .example, .test or .invalid, and addresses of RFC "
            "5737 or RFC 1918. Answer with the text alone.",
        )
        if part
    )


def reject_reason(text: str, order: str) -> str | None:
    """Why an answer is no document: empty, too-long, control-tokens, refusal, repeats-order or real-names."""
    if len(text.strip()) < SHORTEST:
        return "synth-empty"
    if len(text) > LONGEST:
        return "synth-too-long"
    if CONTROL.search(text):
        return "synth-control-tokens"
    if REFUSAL.match(text):
        return "synth-refusal"
    wanted, given = _runs(order), _runs(text)
    if len(wanted & given) > MOST_REPEATED * len(wanted):
        return "synth-repeats-order"
    if any(not RESERVED.search(host) for host in HOSTS.findall(text)):
        return "synth-real-names"
    return None


def _runs(text: str, size: int = 8) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[place : place + size]) for place in range(len(words) - size + 1)}


def endpoint_name(address: str, model: str) -> str:
    """How records name an endpoint's model: host and model, no path and no user."""
    return f"endpoint:{urlsplit(address).hostname}/{model}"
