"""Indicators of compromise: addresses, URLs, domains and file hashes found in a text, and kept, defanged or masked.

Versions, file names and names in program code look alike, and stay: what is no clear indicator is left as it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from forja.corpus.spans import Span, rewrite, settled

Policy = Literal["keep", "defang", "mask"]

DOT = r"(?:\.|\[\.\]|\(\.\)|\{\.\}|\[dot\]|\(dot\))"
IPV4 = re.compile(rf"[0-9]{{1,3}}(?:{DOT}[0-9]{{1,3}}){{3}}(?![0-9A-Za-z_]|\.[0-9])")
IPV6_MARK = re.compile(r":(?::|[0-9A-Fa-f]{1,4}:)")
IPV6_RUN = re.compile(r"[0-9A-Fa-f:.]*+")
LONGEST_IPV6 = 45
PORT_OR_NET = re.compile(r":[0-9]{1,5}\b|/[0-9]{1,2}\b")
_ADDRESS_WORDS = """
ip ips address addresses addr host hosts hostname src dst dest rhost source gateway nameserver ping telnet ssh trying c2
peer client_ip x-forwarded-for
"""
ADDRESS_WORDS = frozenset(_ADDRESS_WORDS.split())
"""Words before four numbers that are an address."""
_VERSION_BEFORE = """
v ver vers version versions rev build update patch before prior through including than until since pack section sec sec.
figure chapter table
"""
VERSION_BEFORE = frozenset(_VERSION_BEFORE.split())
"""Words before four numbers that are a version, or a section's number."""
_PLACE_WORDS = """
from to server client remote local at on by via for user node machine router device sender attacker target blocked
banned denied accepted rejected connect get post network source
"""
PLACE_WORDS = frozenset(_PLACE_WORDS.split())
"""Words that say nothing, though capitals: any other (Portal 7.4.3.21) is the name of what the version is of."""
VERSION_WORDS = ("version", "release", "firmware", "affected", "affects", "prior to", "upgrad", "patched", "fixed")
"""What in the same sentence says that numbers are versions."""
LATER = re.compile(
    r"(?i:[ ]?(?:and|or) (?:earlier|prior|below|later|older|before|previous|above|lower)|[-_+](?=[A-Z])|\([0-9]|"
    r"[ ]?(?:<|allows?\b|build\b|firmware\b|release\b|versions?\b|through [0-9]))|[ ]\[[A-Z]"
)
LISTED = re.compile(r"(?i)\s*(?:,|;|/|-|–|to|through|before|until|(?:, ?)?(?:and|or)|up to|thru)\s*(?:v|version)?\s?\Z")
SIGNS = ("<", ">", "<=", ">=", "==", "~", "^", "§", "#", "&sect;")
SENTENCE = 120
"""Characters of the line before a number in which a word may tell that it is a version."""

SCHEME = re.compile(r"(?i:https?|hxxps?|h\*\*ps?|ftps?|fxps?|sftp|wss?|tcp|udp|ldaps?|rmi|smb)(?::|\[:\]|\[:)\Z")
URL_REST = re.compile(r"[^\s<>\"'`{}|\\^\x00-\x20]{1,4096}")
URL_HOST = re.compile(r"(?P<scheme>[A-Za-z*]+)(?P<colon>:|\[:\]|\[:)//(?P<user>[^/@?#]*@)?(?P<host>[^/:?#]*)")
LONGEST_SCHEME = 9
FANGLESS = {"http": "hxxp", "https": "hxxps", "ftp": "fxp", "ftps": "fxps"}
NAME = re.compile(rf"[A-Za-z0-9_](?:[A-Za-z0-9_-]{{0,62}})(?:{DOT}[A-Za-z0-9_-]{{1,63}}){{1,9}}")
NAME_MARK = re.compile(r"\.(?=[A-Za-z])|[\[({](?=\.|dot)")
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]")
LONGEST_NAME = 253
HASH = re.compile(r"[0-9A-Fa-f]{32}(?<![0-9A-Za-z_][0-9A-Fa-f]{32})[0-9A-Fa-f]*+(?![0-9A-Za-z_])")
HASH_LENGTHS = (32, 40, 64, 128)

# Generic, then countries whose code is no word and no file ending, then new ones that abuse reports name often.
_ENDINGS = """
com org net edu gov mil int info biz arpa onion ac ad ae af ag al ao ar au aw az ba bb bd bf bg bh bi bj bn
bo br bs bt bw by bz ca cd cf cg ch ci ck cl cn co cr cu cv cw cx cy cz de dj dk dm dz ec ee eg er es et eu
fi fj fk fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gt gu gw gy hk hm hn hr ht hu ie il im iq ir je
jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc mg mh mk ml mm mn mo mp mq
mr ms mt mu mv mw mx mz na nc ne nf ng ni nl np nr nu nz om pa pe pf pg ph pk pn pr pt pw qa re ro ru rw sa
sb sc sd se sg si sk sl sm sn sr ss st su sv sx sy sz td tf tg th tj tk tl tm tn tr tt tv tw tz ua ug uk us
uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw xyz top club online icu shop vip work buzz monster rest
click surf cyou cfd sbs bond lol quest gdn loan bid win review stream racing party science trade accountant
download webcam faith cricket space fun pro mobi asia app dev cloud page blog tech store website live news
link agency digital network systems solutions services support email host press
"""
ENDINGS = frozenset(_ENDINGS.split())
# Also words, or endings of files and names in code: a domain only with three labels or more, www, or a path behind.
_AMBIGUOUS = """
ai am an as at be cat cc coop do gs hm id in is it jobs js lib me md mk ml mo my name no pl pm ps py rs sh
so st to us app dev cloud page blog tech store website live news link agency digital network systems
solutions services support email host press work rest click win review stream party science trade download
space fun pro int zip mov ms re la va et
"""
AMBIGUOUS = frozenset(_AMBIGUOUS.split())
_CODE_NAMES = """
asp.net vb.net ado.net ml.net f.net c.net system.net java.net javax.net socket.io java.io org.com net.com
command.com system.io self.id this.id
"""
CODE_NAMES = frozenset(_CODE_NAMES.split())
_FIRST_NAMES = """
com org net edu io java javax javafx android androidx sun system self this os window document style rect
parent node object module exports request response config std
"""
FIRST_NAMES = frozenset(_FIRST_NAMES.split())
"""First labels of names in program code: packages (com.example.app) and variables (window.top)."""


def apply_indicators(text: str, policy: Policy) -> tuple[str, Counter[str]]:
    """The text with its indicators kept, defanged (192[.]0[.]2[.]1, hxxps://a[.]example) or masked (<ip>, <url>,
    <domain>, <hash>), and how many of each kind were changed. What is defanged already stays so, or is masked.
    """
    if policy == "keep":
        return text, Counter()

    changed, made = rewrite(text, lambda part: find_indicators(part, policy))
    return changed, Counter(found.kind for found in made)


def find_indicators(text: str, policy: Policy) -> list[Span]:
    """What the policy changes in text, as spans that may overlap where it masks."""
    if policy == "keep":
        return []
    spans = [*_urls(text), *_names(text), *find_addresses(text)]
    if policy == "mask":
        return [*spans, *_hashes(text)]
    # What stands in a URL is left to it, though the URL be defanged already.
    changed = [span._replace(replacement=_defanged(text[span.start : span.end], span.kind)) for span in settled(spans)]
    return [span for span in changed if span.replacement != text[span.start : span.end]]


def find_addresses(text: str) -> list[Span]:
    """IPv4 and IPv6 addresses, defanged ones too; no versions (`Portal 7.4.3.21`, `1.2.3.4 and earlier`)."""
    spans = [*_ipv4(text)]
    if ":" in text:
        spans += _ipv6(text)
    return spans


def _ipv4(text: str) -> Iterator[Span]:
    version_ends = -LONGEST_NAME
    for match in IPV4.finditer(text):
        start, end = match.span()
        before = text[start - 1 : start]
        if before.isalnum() or before in ("_", ".") or not _octets_hold(match[0]):
            continue
        if _is_version(text, start, end, version_ends):
            version_ends = end
        else:
            yield Span(start, end, "ip", "<ip>")


def _octets_hold(address: str) -> bool:
    """Four numbers to 255 without leading zeros, and not all zero."""
    octets = re.findall("[0-9]+", address)
    return all(int(octet) < 256 and (octet[0] != "0" or octet == "0") for octet in octets) and octets != ["0"] * 4


def _is_version(text: str, start: int, end: int, version_ends: int) -> bool:
    """Whether four numbers are a version and no address, by what stands around them; version_ends: the one before."""
    if text.startswith(("127.0.0.", "192.168."), start) or not text[start:end].replace(".", "").isdigit():
        return False
    line = text.rfind("\n", max(0, start - SENTENCE), start) + 1 or max(0, start - SENTENCE)
    before = text[line:start].replace("\xa0", " ")
    word = before[-32:].rstrip(" \t:=,'\"`([)-").rpartition(" ")[2].rpartition("=")[2].lstrip("'\"`([")
    if word.lower() in ADDRESS_WORDS or before.endswith(("//", "@")) or PORT_OR_NET.match(text, end):
        return False
    named = word[:1].isupper() and before[-1] in " -" and word.lower() not in PLACE_WORDS
    if named or word.lower() in VERSION_BEFORE or before.rstrip(" v").endswith(SIGNS) or LATER.match(text, end):
        return True
    if before[-1:] == "-" and before[-2:-1].isalpha():
        return True
    if start - version_ends <= 16 and LISTED.match(text[version_ends:start]):
        return True
    sentence = before[before.rfind(". ") + 1 :].lower()
    return any(said in sentence for said in VERSION_WORDS)


def _ipv6(text: str) -> Iterator[Span]:
    done = 0
    mark = IPV6_MARK.search(text)
    while mark:
        low = max(done, mark.start() - LONGEST_IPV6)
        start = low + len(text[low : mark.start()].rstrip("0123456789abcdefABCDEF"))
        run = IPV6_RUN.match(text, start)
        done = run.end() if run else mark.end()
        end = start + len(text[start:done].rstrip("."))
        if text[end - 1] == ":" and text[end - 2 : end] != "::":
            end -= 1
        if end - start <= LONGEST_IPV6 and _is_ipv6(text, start, end):
            yield Span(start, end, "ip", "<ip>")
        mark = IPV6_MARK.search(text, done)


def _is_ipv6(text: str, start: int, end: int) -> bool:
    address = text[start:end]
    before, after = text[start - 1 : start], text[end : end + 1]
    if before.isalnum() or before in ("_", ":", ".") or after.isalnum() or after == "_":
        return False
    groups = address.split(":")
    # Names in code (a::b, Dead::Beef) and hardware addresses of eight pairs are none.
    if not any(map(str.isdigit, address)) or all(len(group) == 2 for group in groups):
        return False
    try:
        return not ipaddress.IPv6Address(address).is_unspecified
    except ValueError:
        return False


def _urls(text: str) -> Iterator[Span]:
    done = 0
    slashes = text.find("//")
    while slashes >= 0:
        low = max(done, slashes - LONGEST_SCHEME)
        scheme = SCHEME.search(text[low:slashes]) if text[slashes - 1 : slashes] in (":", "]") else None
        rest = URL_REST.match(text, slashes + 2) if scheme else None
        if scheme and rest and (trimmed := len(_trimmed(rest[0]))):
            done = slashes + 2 + trimmed
            yield Span(low + scheme.start(), done, "url", "<url>")
        slashes = text.find("//", max(done, slashes + 1))


def _trimmed(url: str) -> str:
    """Without the punctuation of the sentence around it; a closing bracket stays where the URL opened it."""
    end = len(url)
    open_round, open_square = url.count("(") - url.count(")"), url.count("[") - url.count("]")
    while end:
        last = url[end - 1]
        if last == ")" and open_round < 0:
            open_round += 1
        elif last == "]" and open_square < 0:
            open_square += 1
        elif last not in ".,;:!?*_~":
            break
        end -= 1
    return url[:end]


def _names(text: str) -> Iterator[Span]:
    """Domain names, found by a dot with a letter behind it."""
    done = 0
    mark = NAME_MARK.search(text)
    while mark:
        place = mark.start()
        start = place
        low = max(done, place - LONGEST_NAME)
        while start > low and text[start - 1] in NAME_CHARACTERS:
            start -= 1
        while start < place and not text[start].isalnum() and text[start] != "_":
            start += 1
        match = NAME.match(text, start)
        if match is None or match.end() <= place:
            done = place + 1
        else:
            done = match.end()
            if _is_domain(text, start, match[0]):
                yield Span(start, done, "domain", "<domain>")
        mark = NAME_MARK.search(text, done)


def _is_domain(text: str, start: int, name: str) -> bool:
    before, end = text[start - 1 : start], start + len(name)
    labels = re.split(DOT, name)
    ending = labels[-1].lower()
    if ending not in ENDINGS or any(not label or label[0] in "-_" or label[-1] in "-_" for label in labels):
        return False
    if (before and (before.isalnum() or before in "/\\$_-%=~<")) or text[end : end + 1] in ("(", "_", "="):
        return False
    if "[" in name or "(" in name or "{" in name:
        return True
    plain = ".".join(labels).lower()
    # Capitals at the ending alone, or inside a word of a rarer ending, are program code: System.Net, fooBar.id.
    camel = labels[-1] not in (ending, ending.upper()) or (
        ending not in ("com", "org", "net", "edu", "gov")
        and any(label[1:] != label[1:].lower() and label != label.upper() for label in labels)
    )
    if camel or "_" in name or plain in CODE_NAMES or labels[0].lower() in FIRST_NAMES or len(labels[-2]) < 2:
        return False
    if ending in AMBIGUOUS:
        behind = text[end : end + 2]
        return labels[0] == "www" or (len(behind) == 2 and behind[0] == "/" and behind[1].isalnum())
    return True


def _hashes(text: str) -> Iterator[Span]:
    """MD5, SHA-1, SHA-256 and SHA-512 by their length in hexadecimal; digits alone are a number."""
    for match in HASH.finditer(text):
        if len(match[0]) in HASH_LENGTHS and not match[0].isdigit() and not match[0].isalpha():
            yield Span(match.start(), match.end(), "hash", "<hash>")


def _defanged(found: str, kind: str) -> str:
    """What no viewer makes a link of; what is defanged in part is left as its author wrote it."""
    if kind == "url":
        parts = URL_HOST.match(found)
        if parts is None or "[" in found[: parts.end()] or parts["scheme"].lower() not in FANGLESS:
            return found
        host = parts["host"].replace(".", "[.]")
        return f"{FANGLESS[parts['scheme'].lower()]}://{parts['user'] or ''}{host}{found[parts.end() :]}"
    if "[" in found or "(" in found or "{" in found:
        return found
    return found.replace(":", "[:]") if ":" in found else found.replace(".", "[.]")
