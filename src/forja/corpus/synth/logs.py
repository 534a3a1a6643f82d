"""One line each of the logs that analysts read, in the formats that the programs write."""

from __future__ import annotations

import json
from datetime import datetime

from forja.corpus.synth.grammar import Draw, between, hexadecimal_digits, pick

MONTH = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{v}.0) Gecko/20100101 Firefox/{v}.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.{m} "
    "Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Mobile Safari/537.36",
)


def browser(draw: Draw) -> str:
    return pick(BROWSERS, draw).format(v=between(110, 128, draw), m=between(0, 6, draw))


def syslog(at: datetime, host: str, program: str, pid: int | None, message: str) -> str:
    """RFC 3164, as rsyslog writes files."""
    tag = f"{program}[{pid}]" if pid is not None else program
    return f"{MONTH[at.month - 1]} {at.day:2d} {at:%H:%M:%S} {host} {tag}: {message}"


def access(at: datetime, client: str, request: str, status: int, size: int, agent: str, referer: str = "-") -> str:
    """Apache's and nginx's combined format."""
    stamp = f"{at.day:02d}/{MONTH[at.month - 1]}/{at.year}:{at:%H:%M:%S} +0000"
    return f'{client} - - [{stamp}] "{request} HTTP/1.1" {status} {size} "{referer}" "{agent}"'


def windows(at: datetime, event: int, host: str, what: str, fields: dict[str, str]) -> str:
    """A Windows security event on one line, as forwarders flatten it."""
    rest = " ".join(f"{key}={value}" if " " not in value else f'{key}="{value}"' for key, value in fields.items())
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z {host} EventID={event} {what} {rest}"


def sysmon(at: datetime, event: int, host: str, fields: dict[str, str]) -> str:
    """A Sysmon event, one JSON object a line."""
    head = {"UtcTime": f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}", "EventID": event, "Computer": host}
    return json.dumps(head | fields, ensure_ascii=False)


def netfilter(at: datetime, host: str, verdict: str, fields: str) -> str:
    """The kernel's LOG target as ufw sets it up."""
    return syslog(at, host, "kernel", None, f"[UFW {verdict}] IN=eth0 OUT= {fields}")


def flow(at: datetime, source: str, port: int, target: str, to: int, sent: int, received: int, action: str) -> str:
    """A firewall's session log, key=value."""
    return (
        f"{at:%Y-%m-%dT%H:%M:%SZ} action={action} proto=tcp src={source} sport={port} dst={target} dport={to} "
        f"sent={sent} rcvd={received}"
    )


def bind(at: datetime, client: str, name: str, kind: str, server: str, draw: Draw) -> str:
    """BIND 9's query log."""
    stamp = f"{at.day:02d}-{MONTH[at.month - 1]}-{at.year} {at:%H:%M:%S}.{at.microsecond // 1000:03d}"
    return (
        f"{stamp} client @0x7f{hexadecimal_digits(10, draw)} {client}#{between(1025, 65000, draw)} ({name}): "
        f"query: {name} IN {kind} + ({server})"
    )


def proxy(at: datetime, client: str, method: str, url: str, status: int, size: int, agent: str) -> str:
    """A web proxy's log with the user agent."""
    return f'{at:%Y-%m-%d %H:%M:%S} {client} {method} {url} {status} {size} "{agent}"'


def openvpn(at: datetime, message: str) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} {message}"


def audit(at: datetime, kind: str, serial: int, fields: str) -> str:
    """auditd's records; those of one event share time and serial number."""
    seconds = int((at - datetime(1970, 1, 1)).total_seconds())
    return f"type={kind} msg=audit({seconds}.{at.microsecond // 1000:03d}:{serial}): {fields}"


def jsonl(at: datetime, fields: dict[str, object]) -> str:
    """An application's structured log."""
    return json.dumps({"ts": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"} | fields, ensure_ascii=False)


def cloud(at: datetime, name: str, service: str, user: dict[str, str], source: str, extra: dict[str, object]) -> str:
    """A cloud provider's audit trail, in CloudTrail's words."""
    head: dict[str, object] = {
        "eventTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": service,
        "eventName": name,
        "sourceIPAddress": source,
        "userIdentity": user,
    }
    return json.dumps(head | extra, ensure_ascii=False)
