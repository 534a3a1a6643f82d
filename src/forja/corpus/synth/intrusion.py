"""Excerpts of logs with an intrusion in them, each with the same hosts and people at innocent work.

The logs are in `attacks/`, the frames and notes in `rules/intrusion.*.txt`.
"""

from __future__ import annotations

from functools import cache

from forja.corpus.synth.attacks import ATTACKS
from forja.corpus.synth.draft import Draft, read_rules
from forja.corpus.synth.grammar import Draw, Grammar, between, pick, stream
from forja.corpus.synth.names import long_date
from forja.corpus.synth.site import Site, Story, site

NAMES = tuple(ATTACKS)
MOST_LINES = 26


@cache
def grammar(lang: str) -> Grammar:
    return Grammar(read_rules(f"intrusion.{lang}"))


def intrusion(seed: int, number: int, lang: str) -> Draft:
    """Document `number` of the kind: even ones are attacks, the odd one after is its benign twin."""
    shared = stream("intrusion", seed, lang, number // 2, "site")
    name, place = pick(NAMES, shared), site(shared)
    draw = stream("intrusion", seed, lang, number)
    attack = number % 2 == 0
    story = ATTACKS[name](place, draw, attack)
    facts = _facts(place, story, draw, lang)
    lines = list(story.in_order())[:MOST_LINES]
    side = "attack" if attack else "benign"
    parts = [grammar(lang).write("title", draw, facts)] if draw() < 0.75 else []
    parts.append("\n".join(lines))
    if draw() < 0.6:
        parts.append(_note(name, side, draw, facts, lang, of_account="user" in story.facts))
    meta = {
        "scenario": name,
        "log": story.log,
        "techniques": [story.technique] if attack else [],
        "company": place.firm.name,
    }
    if attack and story.weakness:
        meta["weaknesses"] = [story.weakness]
    order = f"{name} / {side} / {story.log} of {place.host} / " + ", ".join(f"{k}={v}" for k, v in story.facts.items())
    joint = pick(("\n\n", "\n\n", "\n"), draw)
    return Draft(joint.join(parts), "attack" if attack else "benign", order, meta)


def _facts(place: Site, story: Story, draw: Draw, lang: str) -> dict[str, str]:
    return {
        "user": place.user,
        "tool": "",
        "outcome": "",
        "target": place.host,
        **story.facts,
        "log": story.log,
        "host": place.host,
        "date": long_date(story.lines[0][0], lang),
        "company": place.firm.name,
        "number": str(between(100, 99999, draw)),
        "name": pick(place.people, draw).name,
        "technique": story.technique,
        "weakness": f", {story.weakness}" if story.weakness else "",
    }


def _note(name: str, side: str, draw: Draw, facts: dict[str, str], lang: str, *, of_account: bool) -> str:
    """The analyst's: verdict, what shows it, and what to do, in one order or another."""
    rules = grammar(lang)
    shown = rules.some(f"{name}.{side}", between(1, 2, draw), draw, facts)
    parts = [rules.write(f"verdict.{side}", draw, facts), *shown]
    if draw() < 0.25:
        parts = parts[1:] + parts[:1]
    if side == "attack" and draw() < 0.5:
        parts.append(rules.write("technique", draw, facts))
    if side == "benign" and draw() < 0.4:
        parts.append(rules.write("change", draw, facts))
    if draw() < 0.65:
        parts += rules.some(f"action.{side}", between(1, 2, draw), draw, facts)
    if side == "attack" and of_account and draw() < 0.4:
        parts.append(rules.write("action.account", draw, facts))
    # A login or a path is written as it is, even where it begins a sentence.
    names = (facts["user"], facts["tool"] or "-", facts["source"])
    parts = [part if part.startswith(names) else part[:1].upper() + part[1:] for part in parts]
    if draw() < 0.25:
        return "\n".join(f"- {part}" for part in parts)
    return " ".join(parts)
