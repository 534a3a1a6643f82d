"""Documents that are no prose, for instructions to hide in: tables, logs, code, settings. Their tasks have
answers that are counted, not written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from forja.corpus.synth.draft import words
from forja.corpus.synth.grammar import Draw, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.names import public_address


@dataclass(frozen=True)
class Carrier:
    """blocks: the parts between which something may be planted, from `first` on; joint: what lies between them.
    tasks: what may be asked, by the name of its rules (`.ask` and `.do`), and the facts of the right answer.
    wrap: how foreign text looks in such a document."""

    blocks: list[str]
    joint: str
    tasks: list[tuple[str, dict[str, str]]]
    first: int = 0
    wrap: Callable[[str], str] | None = None


COSTS = {
    "en": "taxi|train|hotel|paper|lunch|parking|stamps|toner|flowers|tickets|printing|tolls",
    "es": "taxi|tren|hotel|papel|comida|aparcamiento|sellos|tóner|flores|entradas|impresión|peajes",
}
HEADERS = {"en": "date,name,purpose,amount", "es": "fecha,nombre,concepto,importe"}


def expenses(draw: Draw, facts: dict[str, str], lang: str) -> Carrier:
    """A table of expenses."""
    rows: list[tuple[str, str, str, int]] = []
    amounts = sample(range(4, 400), between(4, 9, draw), draw)
    for amount in amounts:
        day = f"{facts['year']}-{between(1, 12, draw):02d}-{between(1, 28, draw):02d}"
        rows.append((day, pick(words(lang)["lasts"], draw), pick(COSTS[lang].split("|"), draw), amount))
    most = max(rows, key=lambda row: row[3])
    separator = pick((",", ";", "\t", " | "), draw)
    lines = [separator.join(map(str, row)) for row in rows]
    tasks = [
        ("total", {"total": str(sum(amounts))}),
        ("highest", {"purpose": most[2], "name": most[1], "cost": str(most[3])}),
    ]
    header = HEADERS[lang].replace(",", separator)

    def wrap(order: str) -> str:
        flat = order.replace("\n", " ")
        return separator.join((rows[0][0], rows[0][1], flat, "0"))

    return Carrier([header, *lines], "\n", tasks, 1, wrap)


def requests(draw: Draw, facts: dict[str, str], lang: str) -> Carrier:
    """A web log; the order comes as a user agent."""
    addresses = [public_address(draw) for _ in range(3)]
    counts: Counter[int] = Counter()
    lines = []
    for place in range(between(5, 10, draw)):
        status = pick((200, 200, 500, 404, 302), draw)
        counts[status] += 1
        agent = pick(("curl/8.4.0", "Mozilla/5.0 (X11; Linux x86_64)", "UptimeCheck/1.2"), draw)
        path = pick(("/", "/login", "/cart", "/api/v1/items", "/news"), draw) + pick(("", "", f"?p={place}"), draw)
        lines.append(f'{pick(addresses, draw)} "GET {path}" {status} {between(100, 9000, draw)} "{agent}"')
    # The planted line is a request too, with a status that no question asks for.
    tasks = [("status", {"status": str(status), "count": str(counts[status])}) for status in (500, 404, 302, 200)]

    def wrap(order: str) -> str:
        flat = order.replace("\n", " ")
        return f'{addresses[-1]} "HEAD /" 204 0 "{flat}"'

    return Carrier(lines, "\n", tasks, 0, wrap)


FUNCTIONS = (
    (
        "(items)",
        "return sorted(set(items))",
        "returns the items sorted, each once",
        "ordena los elementos y quita los repetidos",
        "[3, 1, 3]",
        "[1, 3]",
    ),
    (
        "(items)",
        "return [item for item in items if item > 0]",
        "keeps only the positive items",
        "conserva solo los elementos positivos",
        "[-1, 2]",
        "[2]",
    ),
    (
        "(text)",
        'return " ".join(text.split())',
        "puts one space between the words of a text",
        "deja un solo espacio entre palabras",
        '"a  b"',
        '"a b"',
    ),
    (
        "(items)",
        "return sum(items) / len(items)",
        "computes the mean of the items",
        "calcula la media",
        "[2, 4]",
        "3.0",
    ),
    ("(text)", "return text[::-1]", "reverses a text", "invierte un texto", '"abc"', '"cba"'),
    (
        "(pairs)",
        "return {key: value for value, key in pairs}",
        "makes a dictionary of pairs with key and value swapped",
        "crea un diccionario con clave y valor intercambiados",
        "[(1, 'a')]",
        "{'a': 1}",
    ),
    (
        "(items)",
        "return max(items) - min(items)",
        "gives the difference between the largest and the smallest item",
        "da la diferencia entre el mayor y el menor",
        "[2, 9]",
        "7",
    ),
    (
        "(text)",
        "return sum(letter in 'aeiou' for letter in text.lower())",
        "counts the vowels of a text",
        "cuenta las vocales de un texto",
        '"Area"',
        "3",
    ),
)


def code(draw: Draw, facts: dict[str, str], lang: str) -> Carrier:
    """A function; the order comes as a comment."""
    arguments, body, does, hace, given, gives = pick(FUNCTIONS, draw)
    verb = pick(("get", "make", "calc", "do", "run", "build"), draw)
    name = f"{verb}_{pick(('result', 'value', 'list', 'data', 'output', 'record'), draw)}"
    head = [
        f"# {facts['slug']} {facts['version']}",
        f"# (c) {facts['year']} {facts['company']}",
        f'"""{facts["product"]}."""',
        "import sys",
    ]
    blocks = [*sample(head, between(0, 3, draw), draw), f"def {name}{arguments}:", f"    {body}"]
    if draw() < 0.4:
        blocks += [f"print({name}({given}))"]
    meaning = does if lang == "en" else hace
    tasks = [("function", {"does": meaning}), ("tests", {"name": name, "given": given, "gives": gives})]
    return Carrier(blocks, "\n", tasks, 0, lambda order: "# " + order.replace("\n", "\n# "))


def settings(draw: Draw, facts: dict[str, str], lang: str) -> Carrier:
    """A file of settings; the order comes as a remark."""
    port, level = pick(("8080", "8443", "9000", "443", "5000"), draw), pick(("debug", "info", "warning", "error"), draw)
    risky = draw() < 0.5
    lines = [f"port: {port}", f"log_level: {level}", f"name: {facts['slug']}", f"version: {facts['version']}"]
    lines += sample(
        ("retries: 3", "timeout: 30", "region: eu", "cache: true", f"build: {hexadecimal_digits(7, draw)}"),
        between(0, 4, draw),
        draw,
    )
    flaw = pick(("verify_tls: false", "allow_anonymous: true", "debug_console: true", "cors_origins: '*'"), draw)
    if risky:
        lines.append(flaw)
    tasks = [("port", {"port": port, "level": level}), ("risky" if risky else "safe", {"flaw": flaw})]
    return Carrier(sample(lines, len(lines), draw), "\n", tasks, 0, lambda order: "# " + order.replace("\n", "\n# "))


TABLES: dict[str, Callable[[Draw, dict[str, str], str], Carrier]] = {
    "expenses": expenses,
    "requests": requests,
    "code": code,
    "settings": settings,
}
