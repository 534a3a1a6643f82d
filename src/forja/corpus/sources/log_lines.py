"""A line of a system log: the forms of its header, and the personal data in it replaced by typed placeholders."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from datetime import UTC, datetime

# The forms of Loghub's systems (He et al., "Loghub", 2020) and of today's syslog and web servers. The groups:
# label (an annotation before the line), time, host, component, level, and content, which templates are mined of.
SYSLOG_TIME = r"(?P<time>[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d)"
FORMATS: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        "thunderbird": r"(?P<label>\S+) (?P<epoch>\d{9,10}) \d{4}\.\d\d\.\d\d (?P<host>\S+) [A-Z][a-z]{2} +\d{1,2} "
        r"[\d:]{8} \S+ (?:(?P<component>[^\s:\[]+)(?:\[\d+\])?: )?(?P<content>.*)",
        "bgl": r"(?P<label>\S+) (?P<epoch>\d{9,10}) \d{4}\.\d\d\.\d\d (?P<host>\S+) \d{4}-\d\d-\d\d-[\d.]{8,15} \S+ "
        r"\S+ (?P<component>\S+) (?P<level>\S+) ?(?P<content>.*)",
        "hdfs": r"(?P<time>\d{6} \d{6}) \d+ (?P<level>[A-Z]+) (?P<component>[^\s:]+): (?P<content>.*)",
        "hadoop": r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) +(?P<level>[A-Z]+) \[[^\]]*\] "
        r"(?P<component>[^\s:]+): (?P<content>.*)",
        "zookeeper": r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - (?P<level>[A-Z]+) +\[(?P<component>.*?)\] - "
        r"(?P<content>.*)",
        "windows": r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d), (?P<level>\w+) +(?P<component>\w+) +(?P<content>.*)",
        "openstack": r"\S+ (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \d+ (?P<level>[A-Z]+) (?P<component>\S+) "
        r"\[[^\]]*\] (?P<content>.*)",
        "spark": r"(?P<time>\d\d/\d\d/\d\d \d\d:\d\d:\d\d) (?P<level>[A-Z]+) (?P<component>[^\s:]+): (?P<content>.*)",
        "hpc": r"\d+ (?P<host>\S+) (?P<component>\S+) \S+ (?P<epoch>\d{9,10}) \d+ (?P<content>.*)",
        "android": r"\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} +\d+ +\d+ (?P<level>[VDIWEF]) "
        r"(?P<component>[^:]*?) *: (?P<content>.*)",
        "healthapp": r"(?P<time>\d{8}-\d\d?:\d\d?:\d\d?:\d{1,3})\|(?P<component>[^|]*)\|\d+\|(?P<content>.*)",
        "apache-error": r"\[(?P<time>[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d [\d:.]+ \d{4})\] \[(?P<level>[\w:]+)\] "
        r"(?P<content>.*)",
        "apache-access": r'\S+ \S+ \S+ \[(?P<time>[^\]]{20,30})\] (?P<content>"[^"]*" \d{3} .*)',
        "proxifier": r"\[\d\d\.\d\d \d\d:\d\d:\d\d\] (?P<component>\S+) (?:\*\d+ )?- (?P<content>.*)",
        "rfc5424": r"<\d{1,3}>1 (?P<time>\S+) (?P<host>\S+) (?P<component>\S+) \S+ \S+ (?:-|\[.*?\]) ?(?P<content>.*)",
        "syslog-iso": r"(?:<\d{1,3}>)?(?P<time>\d{4}-\d\d-\d\dT\S+) (?P<host>\S+) "
        r"(?P<component>[^\s:\[]+)(?:\[\d+\])?: (?P<content>.*)",
        "syslog": rf"(?:<\d{{1,3}}>)?{SYSLOG_TIME} (?P<host>\S+) (?:(?P<component>[^:\[]{{1,80}}?)(?:\[\d+\])?"
        r"(?: \(.{1,80}?\))?: )?(?P<content>.*)",
    }.items()
}
TIMES = {
    "hdfs": "%y%m%d %H%M%S",
    "hadoop": "%Y-%m-%d %H:%M:%S,%f",
    "zookeeper": "%Y-%m-%d %H:%M:%S,%f",
    "windows": "%Y-%m-%d %H:%M:%S",
    "openstack": "%Y-%m-%d %H:%M:%S.%f",
    "spark": "%y/%m/%d %H:%M:%S",
    "healthapp": "%Y%m%d-%H:%M:%S:%f",
    "apache-error": "%a %b %d %H:%M:%S %Y",
    "apache-access": "%d/%b/%Y:%H:%M:%S %z",
}


def tell_format(lines: Iterable[str]) -> str | None:
    """The name of the form that most of the lines have, and at least half; None where there is none."""
    lines = [line for line in lines if line.strip()]
    counts = {name: sum(pattern.match(line) is not None for line in lines) for name, pattern in FORMATS.items()}
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] * 2 >= max(1, len(lines)) else None


def time_of(found: re.Match[str], name: str) -> str | None:
    """The line's time in ISO 8601, where its form tells the year."""
    groups = found.groupdict()
    try:
        if groups.get("epoch"):
            return datetime.fromtimestamp(int(groups["epoch"]), UTC).isoformat()
        if name in TIMES:
            return datetime.strptime(groups["time"], TIMES[name]).isoformat()
        if name in ("rfc5424", "syslog-iso"):
            return datetime.fromisoformat(groups["time"]).isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    return None


# --- personal data ---------------------------------------------------------------------------

ORDINARY = """root admin administrator nobody daemon system adm bin sync shutdown halt mail news uucp operator games ftp
    sshd ntp apache nginx httpd www-data mysql postgres oracle cyrus named rpc rpcuser dbus htt xfs gdm postfix squid
    guest test user unknown hadoop hdfs yarn mapred spark zookeeper jenkins git systemd-network systemd-resolve
    messagebus localhost anonymous login none null invalid by from for on at is was not and
    in to with the logged name"""
ACCOUNTS = frozenset(ORDINARY.split())
"""Names of accounts that come with a system, and words that follow `user` in a sentence: no person's."""
SHARED = {"public", "shared", "default", "default user", "all"}
NAME = r"[A-Za-z0-9_][\w.@\\$-]{0,63}"
OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IPV4 = re.compile(rf"(?<![\w.~])(?<!ersion )(?:{OCTET}\.){{3}}{OCTET}(?!\w|\.\d)")
IPV6 = re.compile(
    r"(?<![\w:.])(?=[A-Fa-f:]*\d)(?:[0-9A-Fa-f]{1,4}:){1,7}(?::|[0-9A-Fa-f]{1,4})[0-9A-Fa-f:]{0,34}(?:%\w+)?(?![\w:])"
)
MAC = re.compile(r"(?<![\w:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:-])")
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
HOME = re.compile(
    r"(/(?:home|Users|var/mail)/|[A-Za-z]:\\(?:Users|Documents and Settings)\\)([^\s/\\:'\",;()\[\]<>]{1,64})"
)
# What a text in lower case must hold for a pattern to be worth trying, and the pattern.
USERS = [
    (marks, re.compile(pattern, re.IGNORECASE))
    for marks, pattern in (
        (
            ("user", "login", "logname", "acc"),
            rf"\b((?:user(?:name)?|login|account|ruser|logname|acct|userid)(?:=|: )[\"'(]?)({NAME})(?![=\w])",
        ),
        (
            ("user ",),
            r"\b((?:(?:invalid|illegal|unknown|for|of) user|"
            rf"user(?= [^ ]+ (?:from|logged|authenticated|connected|not|has)\b)) [\"'(]?)({NAME})",
        ),
        (
            (" for ",),
            rf"\b((?:accepted|failed|postponed) [\w/-]{{1,40}} for (?:(?:invalid|illegal) user )?)({NAME})(?= from)",
        ),
        (("session opened",), rf"\b(session opened for user [^ ]{{1,64}} by )({NAME})"),
        ((" [",), rf"(?m:^)(\S+ \S+ )({NAME})(?= \[\d\d/)"),
        (("sudo",), rf"\b(sudo(?:\[\d+\])?: +)({NAME})(?= : )"),
        ((") ",), rf"(\()({NAME})(?=\) (?:CMD|LIST|RELOAD|REPLACE|BEGIN|END|EDIT)\b)"),
    )
]
SECRET = re.compile(
    r"((?:pass(?:word|wd|phrase)?|pwd|secret|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret)"
    r"[\"']?(?:=| = |: ?)[\"']?)([^\s\"',;&<>()]{1,256})",
    re.IGNORECASE,
)
TOKEN = re.compile(
    r"((?:token|authorization|cookie|session_?id)[\"']?(?:=| = |: ?)[\"']?(?:bearer |basic )?)"
    r"(?!(?:com|org|net)\.)(?=[A-Za-z_./+~-]{0,256}\d)([\w./+~=-]{16,1024})",
    re.IGNORECASE,
)
URL_SECRET = re.compile(r"(?<=://)[^\s/:@]{1,64}:[^\s/@]{1,64}(?=@)")
URL_USER = re.compile(r"(?:(?<=https://)|(?<=http://)|(?<=ftp://)|(?<=ssh://))[^\s/:@<]{1,128}(?=@)")
REMOTE = re.compile(
    r"\b((?:rhost|remote_?host|client)=|getaddrinfo for )"
    r"([A-Za-z][\w-]{0,62}(?:\.[\w-]{1,63}){1,8}|\d[\w-]{0,62}(?:\.[\w-]{1,63}){0,8}\.[A-Za-z]{2,24})",
    re.IGNORECASE,
)
# Names that providers make of a customer's address, and that people's own devices have.
DASHED = rf"{OCTET}-{OCTET}-{OCTET}-{OCTET}"
DIALLED = re.compile(
    rf"(?<![\w.-])(?:[A-Za-z][A-Za-z0-9]{{0,30}}-{DASHED}(?:\.[\w-]{{1,63}}){{0,8}}|{DASHED}(?:\.[\w-]{{1,63}}){{1,8}})(?!\w)"
)
HAS_DASHED = re.compile(r"\d-\d{1,3}-\d{1,3}-\d")
DEVICE = re.compile(
    r"(?<![\w.-])(?:[\w-]{0,40}(?:MacBook|iMac|iPhone|iPad|Mac-mini)[\w.-]{0,64}|(?:DESKTOP|LAPTOP)-[A-Z0-9]{7}\b)"
)
DEVICES = ("MacBook", "iMac", "iPhone", "iPad", "Mac-mini", "DESKTOP-", "LAPTOP-")


def mask_log(text: str) -> tuple[str, dict[str, int]]:
    """Log text with users, addresses, devices, secrets and homes as `<user>`, `<ip>`, `<mac>`, `<email>`, `<host>`
    and `<secret>`, and how many of each. Accounts that come with a system (root) are no persons and stay."""
    counts: dict[str, int] = {}

    def count(kind: str) -> str:
        counts[kind] = counts.get(kind, 0) + 1
        return f"<{kind}>"

    def user(match: re.Match[str]) -> str:
        plain = match[2].rstrip(".")
        if plain.lower() in ACCOUNTS or plain.isdecimal():
            return match[0]
        return match[1] + count("user") + match[2][len(plain) :]

    def address(match: re.Match[str]) -> str:
        try:
            found = ipaddress.ip_address(match[0].partition("%")[0])
        except ValueError:
            return match[0]
        return match[0] if found.is_loopback or found.is_unspecified else count("ip")

    def home(match: re.Match[str]) -> str:
        return match[0] if match[2].lower() in SHARED else match[1] + count("user")

    def masked(kind: str, pattern: re.Pattern[str], begins: bool = False) -> str:
        return pattern.sub(lambda match: (match[1] if begins else "") + count(kind), text)

    # The cheap look first: most texts hold none of the words that a pattern needs.
    lower = text.lower()

    def has(*marks: str) -> bool:
        return any(mark in lower for mark in marks)

    if has("pass", "pwd", "secret", "key"):
        text = masked("secret", SECRET, begins=True)
    if has("token", "authorization", "cookie", "session"):
        text = masked("secret", TOKEN, begins=True)
    if "://" in text and "@" in text:
        text = masked("secret", URL_SECRET)
        text = masked("user", URL_USER)
    if "@" in text:
        text = masked("email", EMAIL)
    if has("/home/", "users", "/mail/", "settings"):
        text = HOME.sub(home, text)
    text = IPV4.sub(address, text)
    if ":" in text or "-" in text:
        text = masked("mac", MAC)
        text = IPV6.sub(address, text)
    if HAS_DASHED.search(text):
        text = masked("host", DIALLED)
    if any(mark in text for mark in DEVICES):
        text = masked("host", DEVICE)
    if has("host=", "client=", "getaddrinfo"):
        text = masked("host", REMOTE, begins=True)
    for marks, pattern in USERS:
        if has(*marks):
            text = pattern.sub(user, text)
    return text, counts
