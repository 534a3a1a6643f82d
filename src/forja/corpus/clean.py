"""Bytes to clean text: decoding, Unicode normalisation, and whitespace. HTML is `html.py`'s."""

from __future__ import annotations

import re
import unicodedata

# Control characters but newline and tab, the byte-order mark, and the replacement character's lone surrogates.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029|\x85")
# Of what CONTROL and LINE_ENDS take out, what ASCII has not, in UTF-8, and what it has.
C1 = re.compile(rb"\xc2[\x80-\x9f]")
MARKS = tuple(mark.encode() for mark in ("\u2028", "\u2029", "\ufeff"))
ASCII_CONTROL = bytes(byte for byte in range(128) if CONTROL.match(chr(byte)) or LINE_ENDS.match(chr(byte)))
BLANK_LINES = re.compile(r"\n{4,}")
MOJIBAKE = re.compile(r"[ÂÃâ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
MOST_REPAIRS = 8
BINARY_SHARE = 0.02
"""A share of control bytes from which a file is no text."""
WRONG_SHARE = 0.002
"""The share of a text's characters up to which bytes that are not valid in an encoding are put up with."""
META_CHARSET = re.compile(
    rb"""(?:<meta\s[^>]{0,400}?charset|<\?xml\s[^>]{0,200}?encoding)\s*=\s*["']?\s*([\w:.+-]{1,40})""", re.IGNORECASE
)
WIDER = {"shift_jis": "cp932", "euc_kr": "cp949", "gbk": "gb18030", "gb2312": "gb18030", "big5": "big5hkscs"}
"""What pages so labelled hold: the standard's encodings of these names have more characters than Python's."""


def looks_binary(head: bytes) -> bool:
    """Whether the first bytes of a file are not text in any encoding known here."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    if b"\0" in head:
        return True
    control = sum(byte < 9 or (13 < byte < 32 and byte != 27) for byte in head)
    return control > BINARY_SHARE * max(1, len(head))


def decode(raw: bytes, declared: str | None = None) -> str | None:
    """Text of a file; None where it is none. declared: the charset that its transport named, HTTP say.

    Tried in turn: a byte-order mark, UTF-8 (text in another encoding is practically never valid in it, while pages
    that are UTF-8 and say otherwise are common), the declared charset, that of a <meta> element or XML declaration,
    and what the bytes look like. Labels mean what the WHATWG Encoding Standard says: iso-8859-1 is windows-1252. An
    encoding is taken only if next to nothing in the file is not valid in it; that becomes U+FFFD.
    """
    utf_16 = (declared or "").strip().lower().startswith("utf-16") and b"\0" in raw[:4096]
    if not utf_16 and looks_binary(raw[:4096]):
        return None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decoded(raw, "utf-16")
    if not utf_16:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    named = META_CHARSET.search(raw[:4096])
    for label in (declared, named.group(1).decode("ascii") if named else None, "utf-8"):
        text = _decoded(raw, _encoding(label, utf_16)) if label else None
        if text is not None:
            return text
    from resiliparse.parse.encoding import detect_encoding

    return _decoded(raw, WIDER.get(found, found) if (found := detect_encoding(raw)) else "cp1252")


def _encoding(label: str, utf_16: bool) -> str | None:
    """Python's name of the encoding that the WHATWG Encoding Standard calls `label`; None for none known."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    name: str | None = map_encoding_to_html5(label.strip(), False)
    if name is None or (name.startswith("utf-16") and not utf_16):
        # A page that can say in ASCII that it is UTF-16 is not.
        return None
    return WIDER.get(name, name)


def _decoded(raw: bytes, encoding: str | None) -> str | None:
    if encoding is None:
        return None
    try:
        text = raw.decode(encoding, "replace")
    except LookupError:
        return None
    if text.count("\ufffd") > WRONG_SHARE * len(text) + 1:
        return None
    start = text[:4096]
    fine = sum(character.isprintable() or character.isspace() for character in start)
    return text if fine >= 0.95 * len(start) else None


def clean(text: str) -> str:
    """NFC, \\n line ends, no control characters, no trailing blanks, repaired mojibake. Idempotent."""
    cleaned = _clean_once(text)
    for _ in range(MOST_REPAIRS):
        if not _has_mojibake(cleaned):
            return cleaned
        # What was taken out may have left new mojibake behind: on, until nothing changes.
        again = _clean_once(cleaned)
        if again == cleaned:
            return cleaned
        cleaned = again
    return cleaned


def _has_mojibake(text: str) -> bool:
    """Whether UTF-8 seems to have been read as Latin-1 or Windows-1252; the letters it begins with are rare."""
    return ("Ã" in text or "Â" in text or "â" in text) and MOJIBAKE.search(text) is not None


def _clean_once(text: str) -> str:
    # Each step first looks, at the speed of memory, for what it would change: most texts have none of it.
    if _has_mojibake(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    if _has_control(text):
        text = CONTROL.sub("", LINE_ENDS.sub("\n", text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text:
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n\n", text)
    return text.strip()


def _has_control(text: str) -> bool:
    """Whether there is something that CONTROL or LINE_ENDS would find."""
    try:
        plain = text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return True
    if len(plain.translate(None, ASCII_CONTROL)) != len(plain):  # \r among them
        return True
    if len(plain) == len(text):
        return False
    return any(mark in plain for mark in MARKS) or (b"\xc2" in plain and C1.search(plain) is not None)


def storable(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, which JSON and file names may carry, are written out as escapes."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()
