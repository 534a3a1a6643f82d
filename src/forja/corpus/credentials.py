"""Where in a text secrets stand: private keys, API keys and tokens, password hashes, values assigned to a password.

The forms are those that the issuers document; gitleaks and detect-secrets were the model for which to look for.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from forja.corpus.spans import Span

# Characters that tokens are made of, as one letter: a run of them is then one search for a fixed string.
TOKEN_CHARACTERS = bytes(97 if chr(code).isalnum() or chr(code) in "_-" else 32 for code in range(128)) + b" " * 128
SHORTEST_RUN = b"a" * 16
LOOK_BACK = 24
"""Characters before a long run in which its form may begin (SG., ya29., 1234567890:)."""
LONGEST_KEY = 65536
"""Characters of a private key between its first line and its last."""

TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255}"
    r"|gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas)-[A-Za-z0-9_-]{20,255}"
    r"|xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,255}|xapp-[0-9]-[A-Z0-9]+-[0-9]+-[A-Za-z0-9]+"
    r"|(?:sk|rk|pk|whsec)_(?:live_|test_|prod_)?[A-Za-z0-9]{24,255}"  # Stripe
    r"|sk-(?:ant|proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,255}"  # OpenAI, Anthropic and kin
    r"|sk-(?=[a-z0-9]{0,64}[A-Z])(?=[A-Za-z]{0,64}[0-9])[A-Za-z0-9]{20,255}"
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,512}|GOCSPX-[A-Za-z0-9_-]{28}"  # Google
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,512}|rubygems_[a-f0-9]{48}|dckr_pat_[A-Za-z0-9_-]{20,64}"
    r"|hf_[A-Za-z]{34}|dop_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}|lin_api_[A-Za-z0-9]{40}"
    r"|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|hv[sb]\.[A-Za-z0-9_-]{24,255}|dapi[a-f0-9]{32}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}"
    r"|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"  # Telegram
    r"|(?:SK|AC)[a-f0-9]{32}(?![A-Za-z0-9])"  # Twilio
    r"|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"  # SendGrid
    r"|key-[a-f0-9]{32}(?![A-Za-z0-9])|[a-f0-9]{32}-us[0-9]{1,2}(?![A-Za-z0-9])"  # Mailgun, Mailchimp
    r"|eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{0,2048}"  # JWT (RFC 7519)
    r"|AGE-SECRET-KEY-1[0-9A-Z]{50,70}"
    r")"
)
SLACK_HOOK = "hooks.slack.com/services/"
HOOK_TAIL = re.compile(r"T[A-Za-z0-9_]{6,}/B[A-Za-z0-9_]{6,}/[A-Za-z0-9_]{16,}")
KEY_BEGIN = "-----BEGIN "
KEY_HEAD = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
KEY_LINES = re.compile(r"(?:(?:\\n|\\r|[ \t\r\n]){0,4}[A-Za-z0-9+/=]{16,80}(?![A-Za-z0-9+/=])){1,256}")
# A dollar: crypt(3) hashes. Else an assignment: not after digits, as in times, nor before //, as in URLs.
MARK = re.compile(r"[$=:](?:(?<=\$)(?=[0-9A-Za-z-]{1,16}\$)|(?<=[A-Za-z_\"'\]) ][=:])(?!//|:|=))")
CRYPT = re.compile(
    r"\$(?:1|2[abxy]?|5|6|7|y|gy|apr1|argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]*|bcrypt[a-z0-9-]*|sha1|P|H|S)"
    r"\$[A-Za-z0-9./$=,+_-]{20,255}"
)
LDAP = re.compile(r"\{S?(?:SHA|MD5)[0-9]{0,3}\}[A-Za-z0-9+/]{20,128}={0,2}")
PASSWORDS = (
    *("password", "passwd", "pwd", "passphrase", "passcode", "secret", "kennwort", "passwort", "contraseña"),
    *(f"{before}{name}" for before in ("_", "-", ".", " ", '"', "'", "?", "&") for name in ("pass", "clave")),
)
_KEY_OWNERS = """
api access secret account auth client encryption master shared sharedaccess private signing storage service app session
consumer
"""
KEYS = (
    *("token", "credential", "credentials", "bearer", "?sig", "&sig", "private_key_id", "access_key_id"),
    *(f"{owner}{between}key" for owner in _KEY_OWNERS.split() for between in ("", "_", "-", " ", ".")),
)
LONGEST_NAME = 24
VALUE = re.compile(
    r">?[ \t]{0,8}(?:[bru]{1,2}(?=[\"']))?(?:\"(?P<double>[^\"\n\\]{1,1024})\"|"
    r"'(?P<single>[^'\n\\]{1,1024})'|(?P<bare>[^\s\"'`<>;,&(){}\[\]|]{1,1024}))"
)
BEARER = re.compile(
    r"[ \t]{0,8}[\"']?(?:Basic|Bearer|Token|Digest|ApiKey|AWS4-HMAC-SHA256|Negotiate|NTLM)[ \t]{1,8}"
    r"(?P<token>[A-Za-z0-9+/=._~-]{8,4096})",
    re.I,
)
URL_PASSWORD = re.compile(r"://(?P<secret>[^\s/:@<>\"']{0,128}:[^\s/@<>\"']{1,256})@")
NO_SECRET = re.compile(
    r"(?i)\A(?:x{3,}|\*+|\.+|-+|_+|\?+|#+|(?:your|my|the|some|new|old|user|this|insert|enter|change)[ _-]?[\w-]*|"
    r"(?:api|access|secret|auth|client|db|database|root|admin|user)?[ _.-]?"
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|key|credentials?)"
    r"(?:[ _.-]?(?:here|value|field|input|hash|id|name))?|"
    r"string|text|hidden|none|null|nil|true|false|required|optional|undefined|redacted|masked|removed|example|placeholder|"
    r"empty|value|username|type|name|basic|bearer|\d{1,3})\Z"
)
# Templates, variables, attributes of program code, and placeholders.
NAMES_A_VALUE = re.compile(
    r"\$[{(]|\{\{|%[({]|<[\w .-]+>|\A[$%][\w.]*%?\Z|\A%[a-z]\b|\A\[.*\]\Z|\A\{[\w.]+\}\Z|%20|\A[a-z]{2,12}\.[A-Za-z]|"
    r"\A(?:self|process|env|config|settings|request|args?|params?|options)[.\[_]"
)


def find_secrets(text: str) -> list[Span]:
    """Secrets in text but private keys, as spans that may overlap. None goes past its line."""
    spans = [*_tokens(text), *_url_passwords(text), *_assigned(text)]
    place = text.find(SLACK_HOOK)
    while place >= 0:
        tail = HOOK_TAIL.match(text, place + len(SLACK_HOOK))
        if tail:
            spans.append(_secret(tail.start(), tail.end()))
        place = text.find(SLACK_HOOK, place + 1)
    if "{S" in text or "{MD5}" in text:
        spans += [_secret(match.start(), match.end()) for match in LDAP.finditer(text)]
    return spans


def _secret(start: int, end: int) -> Span:
    return Span(start, end, "secret", "<secret>")


def find_private_keys(text: str) -> list[Span]:
    """PEM (RFC 7468), OpenSSH and PGP: to the last line, or where that is cut off, as far as it looks like a key."""
    spans: list[Span] = []
    place = text.find(KEY_BEGIN)
    while place >= 0:
        head = KEY_HEAD.match(text, place)
        if head is None:
            place = text.find(KEY_BEGIN, place + 1)
            continue
        last = text.find("-----END ", head.end(), head.end() + LONGEST_KEY)
        end = KEY_END.match(text, last) if last >= 0 else None
        lines = None if end else KEY_LINES.match(text, head.end())
        if end or lines:
            spans.append(_secret(place, (end or lines).end()))  # type: ignore[union-attr]  # one of them is there
        place = text.find(KEY_BEGIN, head.end())
    return spans


def _tokens(text: str) -> Iterator[Span]:
    """Tokens by their prefixes: each holds a long run of token characters, and those are few."""
    runs = text.encode("ascii", "replace").translate(TOKEN_CHARACTERS)
    start = runs.find(SHORTEST_RUN)
    done = 0
    while start >= 0:
        end = runs.find(b" ", start)
        end = len(runs) if end < 0 else end
        # A JWT goes on behind its dots; all others end with a run.
        for match in TOKEN.finditer(text, max(done, start - LOOK_BACK), _token_end(runs, text, end)):
            yield _secret(match.start(), match.end())
            done = match.end()
        start = runs.find(SHORTEST_RUN, end)


def _token_end(runs: bytes, text: str, end: int) -> int:
    for _ in range(2):
        if text[end : end + 1] != ".":
            break
        following = runs.find(b" ", end + 1)
        end = len(runs) if following < 0 else following
    return end


def _url_passwords(text: str) -> Iterator[Span]:
    """User and password in a URL (RFC 3986, section 3.2.1)."""
    at = text.find("@")
    while at >= 0:
        scheme = text.rfind("://", max(0, at - 388), at)
        match = URL_PASSWORD.match(text, scheme) if scheme >= 0 else None
        if match and match.end() == at + 1:
            yield _secret(match.start("secret"), match.end("secret"))
        at = text.find("@", at + 1)


def _assigned(text: str) -> Iterator[Span]:
    """Password hashes, and values given to something that is named a password, key or token."""
    for mark in MARK.finditer(text):
        place = mark.start()
        if text[place] == "$":
            crypt = CRYPT.match(text, place)
            if crypt:
                yield _secret(crypt.start(), crypt.end())
            continue
        name = f" {text[max(0, place - LONGEST_NAME) : place]}".rstrip(" \t\"'])").lower()
        if name.endswith("authorization"):
            value = BEARER.match(text, place + 1)
            if value and _is_secret(value["token"], quoted=False, password=False):
                yield _secret(value.start("token"), value.end("token"))
            continue
        password = name.endswith(PASSWORDS)
        if not password and not name.endswith(KEYS):
            continue
        value = VALUE.match(text, place + 1)
        group = value.lastgroup if value else None
        if (
            value is None
            or group is None
            or (group == "bare" and text[value.end() : value.end() + 1] in ("(", "[", "{"))
        ):
            continue
        if _is_secret(value[group], group != "bare", password):
            yield _secret(value.start(group), value.end(group))


def _is_secret(value: str, quoted: bool, password: bool) -> bool:
    """Whether a value is a secret and not the name, type or place of one."""
    if NO_SECRET.match(value) or NAMES_A_VALUE.search(value) or "://" in value:
        return False
    digits, letters = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    if quoted:
        if any(map(str.isspace, value)) or len(value) < 4:
            return False
        return password or (len(value) >= 12 and digits and letters)
    if len(value) < 8 or not (digits and letters):
        return False
    return entropy(value) >= (2.5 if password else 3.0)


def entropy(value: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())
