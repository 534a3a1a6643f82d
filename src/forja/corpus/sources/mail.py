"""E-mail: an mbox or a single message to records, and a message to the text a person would read.

Attachments are named, never opened; who wrote a mail goes to `author`, not to the text.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import parseaddr, parsedate_to_datetime
from typing import IO

from forja.corpus.clean import decode
from forja.corpus.html import html_to_text
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
SURE = re.compile(rb"From \S+\s+" + DAY + rb"\s+[A-Z][a-z]{2}\s+\d{1,2}\s+\d\d:\d\d")
LIKELY = re.compile(rb"From \S+(?:\s[^\r\n]*\d\d:\d\d[^\r\n]*)?\s*$")
ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
HEADER_END = re.compile(rb"\r?\n\r?\n")
MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^<>\s]{1,500}>)", re.IGNORECASE | re.MULTILINE)

DEEPEST = 12
MOST_PARTS = 200
LONGEST_HEADER = 4096
LONGEST_HEAD = 1 << 18
ALMOST_TEXT = {"text/calendar", "text/vcard", "text/x-vcard", "text/directory", "text/css", "text/csv", "text/xml"}
NOT_FOR_BODIES = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}
"""Codecs that no mail is written in; some of them take the square of the text's length."""


def read_mbox(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record a message of an mbox (RFC 4155; `>From ` unescaped as mboxrd has it), in the file's order.

    Its origin is made of the Message-ID, as a number changes when mails are deleted before it. Raises
    ForjaError where no line begins a message.
    """
    number = 0
    begun = blank = False
    blank = True
    lines: list[bytes] = []
    size = 0
    while line := file.readline(max_bytes + 1):
        if line.startswith(b"From ") and ((blank and LIKELY.match(line)) or SURE.match(line)):
            if begun or lines:
                yield _message(lines, size, begun, origin, number, max_bytes)
            number += 1
            begun, lines, size = True, [], 0
        elif begun or line.strip():
            size += len(line)
            # Of a message that is too long only the beginning is held.
            if size <= max_bytes or not lines:
                lines.append(line if size <= max_bytes else line[:1024])
        blank = not line.strip()
    if not begun:
        raise ForjaError("this is not an mbox: no line of it begins a message.", where=origin)
    yield _message(lines, size, begun, origin, number, max_bytes)


def _message(lines: list[bytes], size: int, begun: bool, origin: str, number: int, max_bytes: int) -> Record:
    raw = b"".join(lines)
    place = f"{origin}#{number}"
    if not begun:
        return rejected(place, "not-mail", raw[:1024])
    if size > max_bytes:
        return rejected(place, "too-long", raw[:1024])
    if not raw.strip():
        return rejected(place, "empty")
    raw = ESCAPED.sub(rb"\1", raw.removesuffix(b"\n"))
    return Record(_origin(raw, origin, place), raw, "mail")


def _origin(raw: bytes, origin: str, place: str) -> str:
    """The digest of the Message-ID, which may hold an address, or where the message stands."""
    end = HEADER_END.search(raw)
    found = MESSAGE_ID.search(raw, 0, end.start() if end else len(raw))
    return f"{origin}#{hashlib.blake2b(found[1], digest_size=8).hexdigest()}" if found else place


def read_eml(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """The one message of an .eml file (RFC 5322)."""
    raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        yield rejected(origin, "too-long", raw[:1024])
    elif not raw.strip():
        yield rejected(origin, "empty")
    else:
        yield Record(origin, raw, "mail")


def render_mail(record: Record) -> Record:
    """The record as text: the subject, then the best text part, quoted text kept, then attachments' names.

    author: the From address, for its HMAC. Rejected where it is no mail, or has no text.
    """
    try:
        return _render(record)
    except Exception as error:
        # The parsers of `email` raise many kinds on hostile input; the kind alone tells nothing personal.
        return replace(record, reason="not-mail", meta={**record.meta, "error": type(error).__name__})


def _render(record: Record) -> Record:
    mail = Mail()
    head = _parse(record.raw)
    if not head.keys():
        return replace(record, reason="not-mail")
    body = mail.text_of(head, 0).strip()
    subject = " ".join(_header(head, "subject").split())
    names = "\n".join(f"[attachment: {name}]" for name in mail.attachments)
    text = "\n\n".join(part for part in (f"Subject: {subject}" if subject else "", body, names) if part)
    if not body and not subject:
        return replace(record, reason="empty")
    meta = {**record.meta, "subject": subject, "message-id": _header(head, "message-id").strip("<> ")}
    address = parseaddr(_header(head, "from"))[1].strip().lower()
    return replace(
        record,
        form="string",
        text=text,
        date=_date(_header(head, "date")),
        author=address if "@" in address else None,
        meta={key: value for key, value in meta.items() if value},
    )


@dataclass
class Mail:
    """What is met on the way through a message's parts: the attachments' names, and how many parts."""

    attachments: list[str] = field(default_factory=list)
    parts: int = 0

    def text_of(self, part: Message, depth: int) -> str:
        """The readable text of a part and of what is in it; parts nested too deep, or too many, are left out."""
        self.parts += 1
        if self.parts > MOST_PARTS:
            return ""
        kind = part.get_content_type()
        if kind.startswith("multipart/"):
            return self._text_of_many(part, kind, depth) if depth < DEEPEST else ""
        name = part.get_filename()
        attached = (part.get_content_disposition() or "") == "attachment"
        if name or attached or not kind.startswith("text/") or kind in ALMOST_TEXT:
            self.attachments.append(_named(name or kind))
            return ""
        text = decode_body(part)
        if kind == "text/html":
            return html_to_text(text)
        return text.replace("\r\n", "\n")

    def _text_of_many(self, part: Message, kind: str, depth: int) -> str:
        boundary = part.get_boundary()
        payload = part.get_payload()
        if not isinstance(payload, str):
            return ""
        if not boundary:
            return _decoded(payload.encode("utf-8", "surrogateescape"), None)
        body = payload.encode("utf-8", "surrogateescape")
        children = [_parse(piece) for piece in split_parts(body, boundary)]
        if not children:
            return _decoded(body, None)
        if kind == "multipart/alternative":
            # Plain text before HTML; of the rest the last is the richest (RFC 2046, section 5.1.4).
            children.sort(key=lambda child: (child.get_content_type() != "text/plain", child.is_multipart()))
            return next((text for child in children if (text := self.text_of(child, depth + 1)).strip()), "")
        texts = [self.text_of(child, depth + 1).strip("\n") for child in children]
        return "\n\n".join(text for text in texts if text.strip())


def split_parts(body: bytes, boundary: str) -> list[bytes]:
    """The parts between a multipart's boundary lines; one that was cut has its last part to its end."""
    mark = re.compile(
        rb"^--" + re.escape(boundary.encode("utf-8", "surrogateescape")) + rb"(--)?[ \t]*\r?$", re.MULTILINE
    )
    parts: list[bytes] = []
    begin: int | None = None
    for line in mark.finditer(body):
        if begin is not None:
            parts.append(body[begin : line.start()].removesuffix(b"\n").removesuffix(b"\r"))
        begin = None if line[1] else line.end() + 1
        if line[1] or len(parts) >= MOST_PARTS:
            break
    if begin is not None and begin < len(body):
        parts.append(body[begin:])
    return parts


def _parse(raw: bytes) -> Message:
    """The headers, parsed, and the body as it is: nesting is followed by `Mail`, to a bound."""
    end = HEADER_END.search(raw)
    if end and end.start() > LONGEST_HEAD:
        raw = raw[: raw.rfind(b"\n", 0, LONGEST_HEAD) + 1] + raw[end.start() :]
    part = BytesHeaderParser().parsebytes(raw)
    for name in ("content-type", "content-disposition"):
        if len(str(part.get(name, ""))) > LONGEST_HEADER:
            del part[name]
    return part


def decode_body(part: Message) -> str:
    """A text part in its own encoding, or the one it appears to be in where it names none or a wrong one."""
    payload = part.get_payload(decode=True)
    return _decoded(payload if isinstance(payload, bytes) else b"", part.get_content_charset())


def _decoded(raw: bytes, charset: str | None) -> str:
    if charset and charset.lower() not in ("us-ascii", "unknown-8bit", "unknown"):
        try:
            name = codecs.lookup(charset).name
            if name not in NOT_FOR_BODIES:
                # Of wide characters, half a one at the end says nothing against the rest.
                return raw.decode(charset, "replace" if name.startswith(("utf-16", "utf-32")) else "strict")
        except (LookupError, UnicodeError):
            pass
    return decode(raw) or raw.decode("utf-8", "replace")


def _header(part: Message, name: str) -> str:
    """A header's value decoded, or the empty string."""
    return _words(next((str(value) for key, value in part.raw_items() if key.lower() == name), ""))


def _words(value: str) -> str:
    """Encoded words decoded (RFC 2047); of what is not encoded, but not ASCII, the encoding is guessed."""
    value = value[:LONGEST_HEADER]
    if not value.isascii():
        value = _decoded(value.encode("utf-8", "surrogateescape"), None)
    if "=?" not in value:
        return value.strip()
    pieces = decode_header(value)
    return "".join(piece if isinstance(piece, str) else _decoded(piece, charset) for piece, charset in pieces).strip()


def _date(value: str) -> str | None:
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _named(name: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", _words(name)).split())[:200]
