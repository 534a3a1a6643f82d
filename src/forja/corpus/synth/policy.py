"""Security policy and what is written around it: clauses, findings, runbooks, mails, tickets.

A document takes one topic and some of its demands, each settled once, and writes them in one register. The
demands are in `rules/policy-topics.*.txt`, the sentences in `rules/policy.*.txt`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from forja.corpus.synth.draft import Draft, read_rules, words
from forja.corpus.synth.grammar import Draw, Grammar, Part, between, expand, pick, sample, stream
from forja.corpus.synth.names import company, long_date, moment, person


@dataclass(frozen=True)
class Topic:
    """title and risk as they stand in a sentence; demands: (who, does what, because, evidence, found instead,
    controls)."""

    title: str
    risk: str
    nist: tuple[str, ...]
    iso: tuple[str, ...]
    cis: tuple[str, ...]
    reading: tuple[str, ...]
    demands: tuple[tuple[tuple[Part, ...], ...], ...]


@cache
def grammar(lang: str) -> Grammar:
    return Grammar(read_rules(f"policy.{lang}"))


@cache
def all_topics(lang: str) -> tuple[Topic, ...]:
    read = grammar(lang).read
    found: list[tuple[list[str], list[tuple[tuple[Part, ...], ...]]]] = []
    for line in read_rules(f"policy-topics.{lang}").splitlines():
        cells = [cell.strip() for cell in line.lstrip("= ").split("::")]
        if line.startswith("="):
            found.append((cells, []))
        elif line.strip() and not line.startswith("#"):
            found[-1][1].append(tuple(read(cell) for cell in cells))
    topics = []
    for (title, *controls, risk), demands in found:
        nist, iso, cis, reading = (tuple(cell.split("; ")) for cell in controls)
        topics.append(Topic(title, risk, nist, iso, cis, reading, tuple(demands)))
    return tuple(topics)


class Page:
    """What a register writes from: the document's facts, and one demand's facts at a time."""

    def __init__(self, topic: Topic, draw: Draw, lang: str) -> None:
        self.draw, self.lang, self.rules = draw, lang, grammar(lang)
        self.facts = scene(topic, draw, lang)
        count = between(3, len(topic.demands), draw)
        self.demands = [self._settled(demand) for demand in sample(topic.demands, count, draw)]
        self.used = 0

    def _settled(self, demand: tuple[tuple[Part, ...], ...]) -> dict[str, str]:
        *written, controls = (expand(cell, self.draw, self.facts) for cell in demand)
        nist, iso = controls.split()
        settled = dict(zip(("actor", "do", "why", "check", "failure"), written, strict=True))
        return settled | {"nist_id": nist, "iso_id": iso, "ref": nist if self.draw() < 0.5 else iso}

    def write(self, name: str) -> str:
        """The rule, with the demand in turn."""
        return self.rules.write(name, self.draw, self.facts)

    def next(self) -> None:
        """On to the next demand; after the last comes the first."""
        self.facts.update(self.demands[self.used % len(self.demands)])
        self.used += 1

    def each(self, name: str, most: int = 8) -> list[str]:
        """The rule once for each demand, in order."""
        lines = []
        for _ in self.demands[:most]:
            self.next()
            lines.append(self.write(name))
        return lines

    def some(self, name: str, count: int) -> list[str]:
        """Different alternatives of the rule, each with a demand of its own."""
        lines = []
        for parts in sample(self.rules.rules[name].alternatives, count, self.draw):
            self.next()
            lines.append(expand(parts, self.draw, self.facts))
        return lines

    def maybe(self, name: str, share: float = 0.5) -> list[str]:
        return [self.write(name)] if self.draw() < share else []


FLAWS = {
    "en": (
        ("an SQL injection (CWE-89)", "read and change the database", "8.8"),
        ("a path traversal (CWE-22)", "read files outside the web folder", "7.5"),
        ("a missing authorisation check (CWE-862)", "read the records of other users", "6.5"),
        ("an unrestricted upload (CWE-434)", "run code as the service", "9.8"),
        ("a use of hard-coded credentials (CWE-798)", "sign in as administrator", "9.8"),
        ("a cross-site scripting flaw (CWE-79)", "act in the session of whoever opens the page", "6.1"),
        ("a deserialization of untrusted data (CWE-502)", "run code on the server", "9.8"),
        ("a server-side request forgery (CWE-918)", "reach services behind the firewall", "8.6"),
        ("an out-of-bounds write (CWE-787)", "crash the service and perhaps run code", "8.1"),
        ("a cross-site request forgery (CWE-352)", "change settings through a lured administrator", "6.5"),
    ),
    "es": (
        ("una inyección de SQL (CWE-89)", "leer y cambiar la base de datos", "8.8"),
        ("un recorrido de directorios (CWE-22)", "leer ficheros fuera de la carpeta web", "7.5"),
        ("una falta de autorización (CWE-862)", "leer los datos de otros usuarios", "6.5"),
        ("una subida de ficheros sin control (CWE-434)", "ejecutar código como el servicio", "9.8"),
        ("unas credenciales fijas en el código (CWE-798)", "entrar como administrador", "9.8"),
        ("un fallo de XSS (CWE-79)", "actuar en la sesión de quien abre la página", "6.1"),
        ("una falsificación de peticiones del servidor (CWE-918)", "alcanzar servicios tras el cortafuegos", "8.6"),
    ),
}
SCORE_RATINGS = {"en": ("medium", "high", "critical"), "es": ("media", "alta", "crítica")}


def scene(topic: Topic, draw: Draw, lang: str) -> dict[str, str]:
    """The facts of one document."""
    firm, when = company(draw, lang), moment(draw)
    author, one, two = (person(draw, firm.domain, lang) for _ in range(3))
    nist, iso, cis = pick(topic.nist, draw), pick(topic.iso, draw), pick(topic.cis, draw)
    minutes = sorted(between(8 * 60, 18 * 60, draw) for _ in range(4))
    major, minor = between(1, 9, draw), between(0, 9, draw)
    few = between(0, 4, draw)
    return {
        "company": firm.name,
        "topic": topic.title,
        "risk": topic.risk,
        "system": pick(words(lang)["policy.systems"], draw),
        "date": long_date(when, lang),
        "next_date": long_date(when + timedelta(days=between(20, 180, draw)), lang),
        "month": pick(words(lang)["months"], draw),
        "city": pick(words(lang)["policy.cities"], draw),
        "author": author.name,
        "role": pick(words(lang)["policy.roles"], draw),
        "desk": pick(words(lang)["policy.desks"], draw),
        "code": pick(("ISP", "STD", "SEC", "POL", "GRC", "ISMS"), draw) + f"-{between(1, 60, draw):02d}",
        "version": f"{major}.{minor}",
        "version_next": f"{major}.{minor + 1}",
        "number": str(between(100, 99999, draw)),
        "rating": pick(words(lang)["policy.ratings"], draw),
        "score": "",
        "nist": nist,
        "iso": iso,
        "cis": cis,
        "reading": pick(topic.reading, draw),
        "months": str(between(7, 40, draw)),
        "days": str(between(4, 90, draw)),
        "few": words(lang)["few"][few],
        "sample": str(between(9, 60, draw)),
        "share": str(between(7, 64, draw)),
        "rank": str(between(3, 20, draw)),
        "rank_small": str(between(1, 3, draw)),
        "idle": pick(("30", "45"), draw),
        "quarter_span": pick(words(lang)["policy.spans"], draw),
        "name_a": one.name,
        "name_b": two.name,
        **{f"time_{letter}": f"{at // 60:02d}:{at % 60:02d}" for letter, at in zip("abcd", minutes, strict=True)},
        "product": "",
        "flaw": "",
        "effect": "",
    }


# --- the registers ---------------------------------------------------------------------------


def clauses(page: Page) -> str:
    """A policy of numbered, lettered or unnumbered clauses."""
    draw = page.draw
    style = int(draw() * 4)
    page.next()
    head = [page.write("title_policy")] if draw() < 0.8 else []
    before = [line for name in ("purpose", "scope") for line in page.maybe(name, 0.6)]
    marks = (
        lambda n: f"{n}. ",
        lambda n: f"{int(page.facts['version'][0])}.{n} ",
        lambda n: f"({'abcdefghij'[n - 1]}) ",
        lambda n: "",
    )
    body = [marks[style](place) + line for place, line in enumerate(page.each("clause"), 1)]
    after = [line for name in ("exceptions", "sanction", "reference", "review") for line in page.maybe(name, 0.4)]
    middle = "\n".join(body) if style < 3 else " ".join(body)
    return "\n\n".join([*head, *before, middle, *sample(after, 4, draw)])


def procedure(page: Page) -> str:
    page.next()
    steps = [f"{place}. {line}" for place, line in enumerate(page.each("step"), 1)]
    return "\n".join([page.write("title_procedure"), "", *page.maybe("purpose"), *steps, "", *page.maybe("review")])


def questions(page: Page) -> str:
    marks = pick(
        (("Q: ", "A: ") if page.lang == "en" else ("P: ", "R: "), ("", ""), ("**", ""), ("? ", "! "), ("### ", "")),
        page.draw,
    )
    parts = []
    for _ in page.demands[: between(2, 5, page.draw)]:
        page.next()
        tail = "**" if marks[0] == "**" else ""
        parts.append(f"{marks[0]}{page.write('faq_question')}{tail}\n{marks[1]}{page.write('faq_answer')}")
    return "\n\n".join([*page.maybe("title_faq"), *parts, *page.maybe("article_close", 0.3)])


def article(page: Page) -> str:
    page.next()
    opening = page.write("article_open")
    middle = page.some("article_middle", between(2, 5, page.draw))
    return "\n\n".join([*page.maybe("title_article", 0.8), opening, *middle, *page.maybe("article_close", 0.7)])


def checklist(page: Page) -> str:
    page.next()
    return "\n".join([page.write("title_checklist"), *page.maybe("reference", 0.4), *page.each("check_item")])


def findings(page: Page) -> str:
    count = between(1, 4, page.draw)
    parts, mark = [], page.write("finding_mark")
    for place in range(1, count + 1):
        page.next()
        parts.append(f"{mark.replace('#', str(place))}{page.write('finding')}")
    return "\n\n".join([page.write("title_audit"), *parts, *page.maybe("reference", 0.4)])


def incident(page: Page) -> str:
    page.next()
    facts = page.facts
    lines = [page.write("timeline")]
    answers = page.some("response", between(2, 5, page.draw))
    times = [facts["time_b"], facts["time_c"], facts["time_d"]]
    lines += [f"{times[place]} {line}" if place < 3 else line for place, line in enumerate(answers)]
    lessons = page.some("lesson", between(1, 4, page.draw))
    parts = [page.write("title_incident"), "\n".join(lines), *page.some("outcome", between(1, 2, page.draw))]
    return "\n\n".join([*parts, "\n".join(lessons), *page.maybe("reference", 0.25)])


def runbook(page: Page) -> str:
    page.next()
    head = [page.write("title_runbook"), "", page.write("trigger"), ""]
    first = page.some("response", between(1, 4, page.draw))
    steps = [*first, *page.each("step", between(2, 5, page.draw))]
    mark = int(page.draw() * 3)
    lines = [
        (f"{place}. ", f"Step {place}: " if page.lang == "en" else f"Paso {place}: ", "- ")[mark] + line
        for place, line in enumerate(steps, 1)
    ]
    return "\n".join([*head, *lines, "", *page.maybe("review", 0.4)])


def advisory(page: Page) -> str:
    facts, draw = page.facts, page.draw
    facts["flaw"], facts["effect"], facts["score"] = pick(FLAWS[page.lang], draw)
    facts["product"] = company(draw).word + pick((" Gateway", " Desk", " Vault", " Portal", " Sync", " Agent"), draw)
    score = float(facts["score"])
    facts["rating"] = SCORE_RATINGS[page.lang][(score >= 7) + (score >= 9)]
    page.next()
    first, *rest = page.rules.rules["advisory"].alternatives
    lines = [expand(parts, draw, facts) for parts in (first, *sample(rest, between(3, 6, draw), draw))]
    page.next()
    return "\n".join([page.write("title_advisory"), "", *lines, *page.maybe("reference", 0.3)])


def letter(page: Page) -> str:
    page.next()
    head = [page.write("mail_head")] if page.draw() < 0.7 else []
    parts = [page.write("mail_open") + page.write("mail_why")]
    parts += page.some("article_middle", between(1, 3, page.draw))
    parts += [*page.some("mail_close", 2)[:1], page.write("mail_sign")]
    return "\n\n".join([*head, *parts])


def ticket(page: Page) -> str:
    page.next()
    head = page.write("ticket_head")
    comments = [expand(parts, page.draw, page.facts) for parts in page.rules.rules["comment"].alternatives[:1]]
    for parts in page.rules.rules["comment"].alternatives[1:]:
        if page.draw() < 0.5:
            if page.draw() < 0.5:
                page.next()
            comments.append(expand(parts, page.draw, page.facts))
    return head + "\n" + "\n".join(comments)


def minutes(page: Page) -> str:
    page.next()
    lines = page.some("minutes", between(3, 6, page.draw))
    mark = pick(("- ", "* ", "", "> "), page.draw)
    return "\n".join([page.write("title_minutes"), "", *(mark + line for line in lines)])


REGISTERS: tuple[tuple[str, Callable[[Page], str]], ...] = (
    ("policy", clauses),
    ("policy", clauses),
    ("procedure", procedure),
    ("faq", questions),
    ("article", article),
    ("checklist", checklist),
    ("finding", findings),
    ("incident-report", incident),
    ("runbook", runbook),
    ("advisory", advisory),
    ("mail", letter),
    ("ticket", ticket),
    ("minutes", minutes),
)


def policy(seed: int, number: int, lang: str) -> Draft:
    """Document `number` of the kind; it has no twin."""
    draw = stream("policy", seed, lang, number)
    topic = pick(all_topics(lang), draw)
    name, write = pick(REGISTERS, draw)
    page = Page(topic, draw, lang)
    text = write(page).strip()
    controls = sorted({demand[key] for demand in page.demands[: page.used] for key in ("nist_id", "iso_id")})
    order = f"{name} / {topic.title} / {page.facts['company']}"
    return Draft(text, "benign", order, {"register": name, "topic": topic.title, "controls": controls})
