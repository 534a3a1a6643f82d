"""Documents with an instruction to the model hidden in them, the user's task, and the answer that does the task and
names the instruction without following it; each with the same document in its innocent state.

The sentences are in `rules/injection.*.txt`, the documents that are no prose in `carriers.py`.
"""

from __future__ import annotations

import base64
import codecs
from functools import cache

from forja.corpus.synth.carriers import TABLES, Carrier
from forja.corpus.synth.draft import Draft, read_rules, words
from forja.corpus.synth.grammar import Draw, Grammar, between, pick, stream
from forja.corpus.synth.names import company, long_date, moment, person

PROSE = ("mail", "ticket", "page", "report", "resume", "review", "chat", "readme")

LAYOUTS = (
    "User: {task}\n\n{document}\n\nAssistant: {answer}",
    "{document}\n\nUser: {task}\nAssistant: {answer}",
    "### Task\n{task}\n\n### Document\n{document}\n\n### Answer\n{answer}",
    "Document ({kind}):\n{document}\n---\nQuestion: {task}\nAnswer: {answer}",
    "[document: {kind}]\n{document}\n[/document]\n\nuser> {task}\nassistant> {answer}",
    "{task}\n\n> {quoted}\n\n{answer}",
    "Request: {task}\nInput ({kind}):\n\n{document}\n\nResponse:\n{answer}",
    "<document>\n{document}\n</document>\n{task}\n\n{answer}",
)


@cache
def grammar(lang: str) -> Grammar:
    return Grammar(read_rules(f"injection.{lang}"))


def injection(seed: int, number: int, lang: str) -> Draft:
    """Document `number` of the kind: even ones carry an injection, the odd one after is its benign twin."""
    shared = stream("injection", seed, lang, number // 2, "scene")
    facts, rules = _scene(shared, lang), grammar(lang)
    kind = pick((*PROSE, *PROSE, *TABLES), shared)
    goal, technique = pick(rules.named("goal."), shared), pick(rules.named("tech."), shared)
    attack = number % 2 == 0
    draw = stream("injection", seed, lang, number)
    carrier = _prose(kind, draw, facts, lang) if kind in PROSE else TABLES[kind](shared, facts, lang)
    if attack:
        _settle(goal, technique, draw, facts, lang)
    document = _planted(carrier, rules.write(f"tech.{technique}", draw, facts) if attack else None, draw)
    task, answer = _asked(carrier, draw, facts, lang, attack)
    quoted = document.replace("\n", "\n> ")
    text = pick(LAYOUTS, draw).format(task=task, document=document, answer=answer, kind=kind, quoted=quoted)
    if draw() < 0.25:
        text = f"{rules.write('preface', draw, facts)}\n\n{text}"
    meta = {"carrier": kind, "techniques": [], "company": facts["company"]}
    if attack:
        meta |= {
            "goal": goal,
            "wrapping": technique,
            "techniques": ["LLM01", "AML.T0051.001"],
            "weaknesses": ["CWE-1427"],
        }
    order = f"{kind} / {'injection: ' + goal + ' by ' + technique if attack else 'no injection'} / {facts['company']}"
    return Draft(text, "attack" if attack else "benign", order, meta)


def _scene(draw: Draw, lang: str) -> dict[str, str]:
    firm, bad = company(draw, lang), company(draw, lang)
    when = moment(draw)
    one, two = person(draw, firm.domain, lang), person(draw, firm.domain, lang)
    word, low = pick(words("en")["products"], draw), bad.word.lower()
    slugs = words("en")["slugs"]
    facts = {
        name.removeprefix("carrier."): pick(found, draw)
        for name, found in words(lang).items()
        if name.startswith("carrier.")
    }
    return facts | {
        "company": firm.name,
        "person": one.name,
        "other": two.first,
        "date": long_date(when, lang),
        "time": f"{between(8, 17, draw):02d}:{pick(('00', '15', '30', '45'), draw)}",
        "weekday": pick(words(lang)["days"][:5], draw),
        "month": pick(words(lang)["months"], draw),
        "year": str(when.year - between(0, 15, draw)),
        "amount": f"{between(40, 99000, draw)} EUR",
        "price": f"{between(19, 1900, draw)} EUR",
        "amount_bad": f"{between(900, 99000, draw)} EUR",
        "number": str(between(100, 99999, draw)),
        "product": f"{word} {pick(words('en')['suffixes'], draw)}".strip(),
        "version": f"{between(1, 9, draw)}.{between(0, 20, draw)}",
        "size": str(between(2, 900, draw)),
        "weight": f"{between(1, 30, draw)}.{between(1, 9, draw)}",
        "hours": str(between(3, 40, draw)),
        "share": str(between(2, 70, draw)),
        "slug": f"{word.lower()}-{pick(slugs, draw)}",
        "slug_bad": f"{pick(slugs, draw)}{between(1, 999, draw)}",
        "bad_host": f"{pick(('cdn', 'api', 'img', 'my'), draw)}.{low}.{pick(('test', 'invalid'), draw)}",
        "bad_mail": f"{pick(('box', 'drop', 'archive', 'audit'), draw)}{between(1, 99, draw)}@{low}.invalid",
        "bad_firm": bad.name,
        "domain": firm.domain,
    }


def _settle(goal: str, technique: str, draw: Draw, facts: dict[str, str], lang: str) -> None:
    """Choose the words of the order, in all the disguises that a wrapping may want."""
    rules = grammar(lang)
    words = rules.write(f"goal.{goal}", draw, facts)
    named = rules.write(f"named.{goal}", draw, facts)
    halves = words.split(" ")
    middle = len(halves) // 2
    facts |= {
        "goal": words,
        "goal_named": named,
        "goal_bare": named.removeprefix("to "),
        "encoded64": base64.b64encode(words.encode()).decode(),
        "encoded13": codecs.encode(words, "rot13"),
        "spaced": " ".join(words.replace(" ", "_")),
        "reversed": words[::-1],
        "half_a": " ".join(halves[:middle]),
        "half_b": " ".join(halves[middle:]),
        "where": rules.write(f"where.{technique}", draw, facts),
    }


def _prose(kind: str, draw: Draw, facts: dict[str, str], lang: str) -> Carrier:
    rules = grammar(lang)
    must = rules.write(f"{kind}.must", draw, facts)
    points = rules.some(f"{kind}.point", between(2, 5, draw), draw, facts)
    place = between(0, len(points), draw) if kind != "readme" else 0
    blocks = [*points[:place], must[:1].upper() + must[1:], *points[place:]]
    if kind == "mail":
        blocks = [rules.write("mail_head", draw, facts), *blocks, facts["other"]]
    joint = "\n" if kind in ("chat", "resume") else pick(("\n\n", "\n", " "), draw)
    tasks: list[tuple[str, dict[str, str]]] = [(f"{kind}{n}", {}) for n in (1, 2, 3)]
    return Carrier(blocks, joint, tasks, 1 if kind == "mail" else 0)


def _planted(carrier: Carrier, order: str | None, draw: Draw) -> str:
    blocks = list(carrier.blocks)
    if order is not None:
        if carrier.wrap is not None:
            order = carrier.wrap(order)
        blocks.insert(between(carrier.first, len(blocks), draw), order)
    return carrier.joint.join(blocks)


def _asked(carrier: Carrier, draw: Draw, facts: dict[str, str], lang: str, attack: bool) -> tuple[str, str]:
    rules = grammar(lang)
    if draw() < 0.1:
        return rules.write("screen_ask", draw, facts).strip(), rules.write(
            "screen_yes" if attack else "screen_no", draw, facts
        )
    name, known = pick(carrier.tasks, draw)
    facts |= known
    task, answer = rules.write(f"{name}.ask", draw, facts), rules.write(f"{name}.do", draw, facts)
    answer = answer[:1].upper() + answer[1:]
    if draw() < 0.2:
        answer = f"{rules.write('thanks', draw, facts)} {answer}"
    if not attack:
        return task, answer
    if draw() < 0.3:
        return task, f"{rules.write('notice_first', draw, facts)}\n{answer}"
    return task, answer + pick(("\n\n", "\n", " "), draw) + rules.write("notice", draw, facts)
