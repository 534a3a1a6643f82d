"""What firewalls, resolvers and proxies log of intrusions, and of traffic that looks like them."""

from __future__ import annotations

from forja.corpus.synth.attacks.web import WORDS
from forja.corpus.synth.grammar import Draw, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.logs import bind, browser, flow, netfilter, proxy
from forja.corpus.synth.names import hardware_address, public_address
from forja.corpus.synth.site import Clock, Line, Site, Story


def port_scan(site: Site, draw: Draw, attack: bool) -> Story:
    """A stranger knocks at every door; or the vulnerability scanner of the house does. Packet filter."""
    clock = Clock(site.night if attack else site.start, draw)
    source = site.outside[0] if attack else site.address(9)
    target, hardware = site.address(20 + 7 * len(site.host)), hardware_address(draw)
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
        fields = (
            f"MAC={hardware} SRC={source} DST={target} LEN=44 TOS=0x00 PREC=0x00 TTL={ttl} "
            f"ID={between(1, 65000, draw)} PROTO=TCP SPT={between(30000, 65000, draw)} DPT={port} WINDOW=1024 RES=0x00 "
            "SYN URGP=0"
        )
        lines.append((at, netfilter(at, site.host, verdict, fields)))
        if draw() < 0.2:
            rest = pick(("UDP SPT=53 DPT=41022", "ICMP TYPE=8 CODE=0", "TCP SPT=443 DPT=50122 ACK"), draw)
            other = f"SRC={public_address(draw)} DST={target} LEN=52 TTL=51 PROTO={rest}"
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
    label = f"{pick(WORDS, draw)}{between(1, 99, draw)}"
    zone = ".".join((pick(("t", "ns1", "cdn", "x"), draw), label, pick(("test", "invalid", "example"), draw)))
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
        f"{pick(('cdn', 'api', 'img', 'static'), draw)}.{pick(WORDS, draw)}-"
        f"{pick(('sync', 'metrics', 'fonts', 'edge'), draw)}.{pick(('test', 'invalid'), draw)}"
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
        scheme = "http" if attack and draw() < 0.5 else "https"
        url = f"{scheme}://{host}{path.format(h=hexadecimal_digits(8, draw), n=between(100, 999, draw))}"
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
                        f"https://{pick(('news', 'intranet', 'mail', 'maps'), draw)}."
                        f"{pick((site.firm.domain, 'city.example', 'weather.example'), draw)}/{pick(WORDS, draw)}",
                        pick((200, 304, 407, 403), draw),
                        between(500, 90000, draw),
                        browser(draw),
                    ),
                )
            )
    return Story(
        lines, "T1071.001", "proxy log", {"source": client, "target": host, "count": str(count), "tool": str(every)}
    )


ATTACKS = {
    "port-scan": port_scan,
    "exfiltration": exfiltration,
    "dns-tunnel": dns_tunnel,
    "c2-beacon": beacon,
}
