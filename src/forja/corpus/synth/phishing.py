"""Phishing mails, each with the genuine mail of the same occasion: same company, people, date and matter.

The sentences are in `rules/phishing.*.txt`. Technique ids are of MITRE ATT&CK (Enterprise).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache

from forja.corpus.synth.draft import Draft, read_rules, words
from forja.corpus.synth.grammar import Draw, Grammar, between, hexadecimal_digits, pick, sample, shuffled, stream
from forja.corpus.synth.names import company, long_date, mail_date, moment, person, public_address


@dataclass(frozen=True)
class Pretext:
    """inside: whether it claims to come from a colleague. asks: how it may want its victim to act.
    sender: whose name is borrowed. techniques and tells: what it is and shows beside what its way of asking does."""

    name: str
    inside: bool
    asks: tuple[str, ...]
    sender: str
    techniques: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()


PRETEXTS = (
    Pretext("invoice", False, ("attachment", "link", "attachment"), "trade", tells=("money",)),
    Pretext("parcel", False, ("link", "link", "attachment"), "trade"),
    Pretext("mfa", True, ("link", "qr"), "it", ("T1598.003",), ("credential",)),
    Pretext("password", True, ("link",), "it", ("T1598.003",), ("credential",)),
    Pretext("payroll", True, ("link", "reply"), "people", ("T1657",), ("money",)),
    Pretext("gift", True, ("reply",), "board", ("T1656", "T1657"), ("money",)),
    Pretext("wire", True, ("reply",), "board", ("T1656", "T1657"), ("money",)),
    Pretext("share", True, ("link", "attachment"), "any", tells=("credential",)),
    Pretext("voicemail", True, ("link", "attachment"), "any", tells=("credential",)),
    Pretext("tax", False, ("link", "attachment"), "office", tells=("money",)),
    Pretext("qr", True, ("qr",), "people", ("T1598.003",), ("credential",)),
    Pretext("bank", False, ("attachment", "reply"), "trade", ("T1656", "T1657"), ("money",)),
    Pretext("job", False, ("attachment", "link", "reply"), "people"),
    Pretext("hr", True, ("link", "attachment", "qr"), "people"),
    Pretext("quota", True, ("link",), "it", ("T1598.003",), ("credential",)),
    Pretext("consent", True, ("link",), "it", ("T1528",), ("consent",)),
    Pretext("vpn", True, ("link", "attachment"), "it"),
    Pretext("esign", False, ("link", "link", "qr"), "trade", ("T1598.003",), ("credential",)),
)
DELIVERY = {
    "link": ("T1566.002", "T1204.001"),
    "qr": ("T1566.002", "T1204.001"),
    "attachment": ("T1566.001", "T1204.002"),
    "reply": ("T1566",),
}
OFFICES = {"en": "{} Revenue Office", "es": "Hacienda de {}"}
PROJECTS = [
    "Aurora",
    "Basalt",
    "Cobalt",
    "Delta",
    "Ember",
    "Falcon",
    "Garnet",
    "Heron",
    "Indigo",
    "Juniper",
    "Kestrel",
    "Lantern",
    "Meridian",
    "Onyx",
    "Quartz",
]
PATHS = [
    "login",
    "verify",
    "session",
    "secure",
    "doc",
    "view",
    "account/confirm",
    "auth",
    "portal",
    "track",
    "pay",
    "sso/check",
    "signin",
    "files/open",
]
FILES = "{d}.zip|{d}.docm|{d}.xlsm|{d}.html|{d}.iso|{d}.pdf.exe|{d}.one|{d}.7z|{d}.pdf|{d}.lnk|{d}.svg"
SPOOFED_BOXES = ("postbox.example.com", "freemail.example.net", "inbox.example.org", "mailbox.test", "webpost.invalid")


@cache
def grammar(lang: str) -> Grammar:
    return Grammar(read_rules(f"phishing.{lang}"))


def lookalike(domain: str, draw: Draw) -> str:
    """A domain that passes for another at a glance; as reserved as the one it copies."""
    word = domain.removesuffix(".example")
    swaps = [(old, new) for old, new in (("m", "rn"), ("l", "1"), ("o", "0"), ("w", "vv"), ("i", "l")) if old in word]
    kind = int(draw() * 7)
    if kind == 0 and swaps:
        old, new = pick(swaps, draw)
        return word.replace(old, new, 1) + ".example"
    if kind == 1:
        place = between(1, len(word) - 1, draw)
        return word[:place] + word[place - 1] + word[place:] + ".example"
    if kind == 2:
        return f"{word}-{pick(('secure', 'portal', 'login', 'billing', 'support', 'docs'), draw)}.example"
    if kind == 3:
        return f"{domain}.{pick(('account-check', 'id-service', 'mail-verify', 'cloud-docs'), draw)}.test"
    if kind == 4:
        return f"{word}.{pick(('test', 'invalid'), draw)}"
    if kind == 5:
        return f"{pick(('secure', 'my', 'sso', 'mail', 'e'), draw)}-{word}.invalid"
    place = between(1, len(word) - 2, draw)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :] + ".example"


@dataclass
class Occasion:
    """What both twins share, and how the attack goes about it."""

    pretext: Pretext
    facts: dict[str, str]
    ask: str
    when: str
    spoof: str
    bad_mail: str
    true_mail: str
    address: tuple[str, str]


def occasion(draw: Draw, lang: str) -> Occasion:
    pretext = pick(PRETEXTS, draw)
    own = company(draw, lang)
    firm = own if pretext.inside else company(draw, lang)
    if pretext.sender == "office":
        firm = replace(firm, name=OFFICES[lang].format(firm.word))
    partner = company(draw, lang)
    me, sender, boss = (person(draw, firm.domain if n == 1 else own.domain, lang) for n in range(3))
    ask = pick(pretext.asks, draw)
    when = moment(draw)
    later = when + timedelta(days=between(2, 20, draw))
    spoof = (
        pick(("lookalike", "lookalike", "box", "reply-to"), draw)
        if ask != "reply"
        else pick(("lookalike", "box", "reply-to"), draw)
    )
    bad = lookalike(firm.domain, draw)
    if spoof == "box":
        bad_mail = f"{sender.user}{between(1, 99, draw)}@{pick(SPOOFED_BOXES, draw)}"
    elif spoof == "reply-to":
        bad_mail = sender.mail
    else:
        bad_mail = f"{pick((sender.user, 'no-reply', 'service', 'info'), draw)}@{bad}"
    host = pick(("", "www.", "portal.", "login.", "docs."), draw) + (
        bad if draw() < 0.7 else lookalike(firm.domain, draw)
    )
    path = pick(PATHS, draw)
    month, year, number = pick(words(lang)["months"], draw), str(when.year), str(between(1000, 999999, draw))
    document = pick(words(lang)["documents"], draw).format(y=year, m=month, n=number)
    thousands = "." if lang == "es" else ","
    amount = f"{between(120, 98000, draw):,}".replace(",", thousands)
    currency = pick(("EUR", "EUR", "USD", "GBP"), draw) if lang == "en" else "EUR"
    start = between(8, 16, draw)
    separator = pick(("_", "-", " "), draw)
    facts = {
        "company": own.name,
        "me_first": me.first,
        "me_name": me.name,
        "me_mail": me.mail,
        "me_role": me.role,
        "firm": firm.name,
        "sender_name": sender.name,
        "sender_first": sender.first,
        "sender_role": pick(words(lang)[f"senders.{pretext.sender}"], draw) if pretext.sender != "any" else sender.role,
        "partner": partner.name,
        "true_domain": firm.domain,
        "bad_domain": bad_mail.split("@")[1],
        "bad_host": host,
        "path": path,
        "link": f"https://{host}/{path}?{pick(('id', 'u', 'token', 'ref'), draw)}="
        + hexadecimal_digits(between(6, 20, draw), draw),
        "reply_to": f"{sender.user}@{pick(SPOOFED_BOXES, draw)}",
        "amount": f"{amount} {currency}",
        "fee": f"{between(2, 200, draw)} {currency}",
        "number": number,
        "date": long_date(when - timedelta(days=between(1, 30, draw)), lang),
        "deadline": long_date(later, lang),
        "hours": pick(("12", "24", "48", "72"), draw),
        "file": pick(FILES.split("|"), draw).format(d=document.replace(" ", separator)),
        "docname": document,
        "item": pick(words(lang)["items"], draw),
        "project": pick(PROJECTS, draw),
        "boss_name": boss.name,
        "month": month,
        "year": year,
        "weekday": pick(words(lang)["days"][:5], draw),
        "slot": f"{start}:00 {'y las' if lang == 'es' else 'and'} {start + between(1, 3, draw)}:00",
        "slot_minutes": f"0:{between(10, 59, draw)}",
        "room": str(between(1, 420, draw)),
        "city": pick(words(lang)["branches"], draw),
        "place": pick(words(lang)["places"], draw),
        "street": f"{pick(words(lang)['streets'], draw)} {between(1, 140, draw)}",
        "share": str(between(4, 98, draw)),
        "few": pick(words(lang)["few"], draw),
        "few_number": str(between(2, 9, draw)),
        "ext": str(between(1000, 9999, draw)),
        "pin": str(between(1000, 9999, draw)),
        "technique": DELIVERY[ask][0],
    }
    zone = pick(("+0000", "+0100", "+0200", "-0500"), draw)
    return Occasion(
        pretext,
        facts,
        ask,
        mail_date(when, zone),
        spoof,
        bad_mail,
        sender.mail,
        (public_address(draw), public_address(draw)),
    )


def phishing(seed: int, number: int, lang: str) -> Draft:
    """Document `number` of the kind: even ones are attacks, the odd one after is its benign twin."""
    case = occasion(stream("phishing", seed, lang, number // 2, "occasion"), lang)
    draw = stream("phishing", seed, lang, number)
    attack = number % 2 == 0
    body = _attack(case, draw, lang) if attack else _genuine(case, draw, lang)
    facts = case.facts
    techniques = sorted({*DELIVERY[case.ask], *case.pretext.techniques}) if attack else []
    meta = {"pretext": case.pretext.name, "techniques": techniques, "company": facts["company"]}
    side = f"attack by {case.ask}" if attack else "genuine"
    order = f"{case.pretext.name} / {side} / {facts['firm']} ({facts['true_domain']}) to {facts['me_name']}"
    return Draft(f"{_head(case, draw, lang, attack)}\n\n{body}", "attack" if attack else "benign", order, meta)


def _head(case: Occasion, draw: Draw, lang: str, attack: bool) -> str:
    facts = case.facts
    address = case.bad_mail if attack else case.true_mail
    name = facts["sender_name"] if case.pretext.inside or draw() < 0.5 else facts["firm"]
    subject = grammar(lang).write(f"{case.pretext.name}.subject", draw, facts)
    lines = [f"From: {name} <{address}>" if draw() < 0.85 else f"From: {address}"]
    lines.append(f"To: {facts['me_name']} <{facts['me_mail']}>" if draw() < 0.5 else f"To: {facts['me_mail']}")
    lines.append(f"Subject: {subject}")
    if draw() < 0.7:
        lines.insert(between(0, 3, draw), f"Date: {case.when}")
    if attack and case.spoof == "reply-to":
        lines.append(f"Reply-To: {facts['reply_to']}")
    domain = address.split("@")[1]
    if draw() < 0.3 or (attack and case.spoof == "reply-to"):
        lines.append(_results(case, draw, attack, domain))
    if draw() < 0.2:
        lines.insert(0, f"Return-Path: <{address if draw() < 0.6 or not attack else facts['reply_to']}>")
    if draw() < 0.15:
        lines.append(f"Message-ID: <{hexadecimal_digits(16, draw)}@{domain}>")
    if draw() < 0.1:
        lines.insert(
            0, f"Received: from {pick(('mail', 'mx1', 'smtp', 'out'), draw)}.{domain} ([{case.address[attack]}])"
        )
    if attack and case.ask == "attachment" and draw() < 0.8:
        lines.append(f"{'Adjunto' if lang == 'es' else 'Attachment'}: {facts['file']}")
    return "\n".join(lines)


def _results(case: Occasion, draw: Draw, attack: bool, domain: str) -> str:
    """RFC 8601. A look-alike domain may pass its own checks; a forged one fails."""
    receiver = f"mx.{case.facts['me_mail'].split('@')[1]}"
    good = not attack or case.spoof != "reply-to"
    spf = "pass" if good else pick(("fail", "softfail"), draw)
    dkim = ("pass" if draw() < 0.6 or not attack else "none") if good else "none"
    dmarc = "pass" if good else "fail"
    return f"Authentication-Results: {receiver}; spf={spf} smtp.mailfrom={domain}; dkim={dkim}; dmarc={dmarc}"


def _attack(case: Occasion, draw: Draw, lang: str) -> str:
    rules, facts, pretext = grammar(lang), case.facts, case.pretext

    def write(name: str) -> str:
        return rules.write(name, draw, facts)

    greeting = write("greet_attack" if draw() < 0.7 else "greet")
    opening = write(f"{pretext.name}.occasion")
    lure = " ".join(rules.some(f"{pretext.name}.lure", between(1, 2, draw), draw, facts))
    asking = write(f"ask_{case.ask}")
    secret = case.ask == "reply"
    pressed = draw() < 0.7
    extras = [write("pressure")] if pressed else []
    if secret or draw() < 0.3:
        extras.append(write("deflect"))
    middle = [lure, asking, *extras]
    order = draw()
    if order < 0.3:
        middle = shuffled(middle, draw)
    elif order < 0.45:
        middle = [" ".join(middle)]
    parts = [greeting, capital(opening), *middle]
    if order > 0.85:
        parts = [greeting, f"{capital(opening)} {lure}", *middle[1:]]
    if draw() < 0.25:
        parts.insert(between(2, len(parts), draw), "\n".join(rules.some("detail", between(2, 4, draw), draw, facts)))
    parts += [f"{write('close_attack')}\n{write('sign_person' if pretext.inside else 'sign_firm')}"]
    if draw() < 0.2:
        parts.append(write("footer"))
    if draw() < 0.35:
        parts.append(_why(case, draw, lang, pressed=pressed, impersonal=facts["me_first"] not in greeting))
    return "\n\n".join(parts)


def _why(case: Occasion, draw: Draw, lang: str, *, pressed: bool, impersonal: bool) -> str:
    """Only what is so of this mail."""
    tells = [*case.pretext.tells]
    tells += ["reply", "auth"] if case.spoof == "reply-to" else ["domain"]
    tells += {"link": ["link"], "qr": ["qr", "link"], "attachment": ["attachment"], "reply": ["secret"]}[case.ask]
    tells += ["pressure"] * pressed + ["greeting"] * impersonal
    rules = grammar(lang)
    if case.ask in ("attachment", "reply"):
        tells = [tell for tell in tells if tell not in ("credential", "consent")]
    chosen = [rules.write(f"tell_{tell}", draw, case.facts) for tell in sample(tells, between(2, 4, draw), draw)]
    head = rules.write("why_head", draw, case.facts)
    tail = [rules.write("why_tail", draw, case.facts)] if draw() < 0.5 else []
    return _listed(head, chosen, tail, draw)


def _listed(head: str, points: list[str], tail: list[str], draw: Draw) -> str:
    style = draw()
    if style < 0.4:
        return "\n".join(["---", head, *(f"- {point}" for point in points), *tail])
    if style < 0.6:
        return "\n".join(
            ["---", head, *(f"{place}. {capital(point)}." for place, point in enumerate(points, 1)), *tail]
        )
    return " ".join([head, "; ".join(points) + ".", *tail])


def _genuine(case: Occasion, draw: Draw, lang: str) -> str:
    rules, facts, pretext = grammar(lang), case.facts, case.pretext

    def write(name: str) -> str:
        return rules.write(name, draw, facts)

    safe = rules.some(f"{pretext.name}.safe", between(1, 2, draw), draw, facts)
    parts = [write("greet"), capital(write(f"{pretext.name}.occasion")), *safe]
    if draw() < 0.4:
        parts = [parts[0], " ".join(parts[1:])]
    if draw() < 0.6:
        parts += rules.some("verify", between(1, 2, draw), draw, facts)
    if draw() < 0.2:
        parts.insert(between(2, len(parts), draw), "\n".join(rules.some("detail", between(2, 3, draw), draw, facts)))
    parts.append(f"{write('close')}\n{write('sign_person' if pretext.inside else 'sign_firm')}")
    if draw() < 0.2:
        parts.append(write("footer"))
    if draw() < 0.2:
        points = rules.some("tell_good", between(2, 3, draw), draw, facts)
        parts.append(_listed(write("why_benign_head"), points, [], draw))
    return "\n\n".join(parts)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
