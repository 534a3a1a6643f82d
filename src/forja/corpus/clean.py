"""Bytes to clean text: decoding, HTML to text, Unicode normalisation, and whitespace."""

from __future__ import annotations

import re
import unicodedata

# Control characters but newline and tab, the byte-order mark, and the replacement character's lone surrogates.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029|\x85")
# Of what CONTROL and LINE_ENDS take out, what ASCII has not, and what it has.
UNUSUAL = re.compile(r"[\x80-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
ASCII_CONTROL = bytes(byte for byte in range(128) if CONTROL.match(chr(byte)))
BLANK_LINES = re.compile(r"\n{4,}")
MOJIBAKE = re.compile(r"[ÂÃâ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
MOST_REPAIRS = 8
BINARY_SHARE = 0.02
"""A share of control bytes from which a file is no text."""


def looks_binary(head: bytes) -> bool:
    """Whether the first bytes of a file are not text in any encoding known here."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    if b"\0" in head:
        return True
    control = sum(byte < 9 or (13 < byte < 32 and byte != 27) for byte in head)
    return control > BINARY_SHARE * max(1, len(head))


def decode(raw: bytes) -> str | None:
    """Text of a file, in UTF-8 or the encoding it appears to be in; None where it is no text."""
    if looks_binary(raw[:4096]):
        return None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            from resiliparse.parse.encoding import detect_encoding

            encoding = detect_encoding(raw) or "latin-1"
    try:
        text = raw.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None
    odd = sum(character.isprintable() or character.isspace() for character in text[:4096])
    return text if odd >= 0.95 * len(text[:4096]) else None


def html_to_text(html: str) -> str:
    """The main text of a page: navigation and boilerplate left out, preformatted blocks kept."""
    from resiliparse.extract.html2text import extract_plain_text

    text: str = extract_plain_text(html, main_content=True, preserve_formatting=True, alt_texts=False, links=False)
    if len(text) < 200:
        # Short pages have no part that looks like an article: better all than nothing.
        text = extract_plain_text(html, main_content=False, preserve_formatting=True, alt_texts=False, links=False)
    return text


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
    if "\r" in text or not (text.isascii() or UNUSUAL.search(text) is None):
        text = CONTROL.sub("", LINE_ENDS.sub("\n", text))
    plain = text.encode("utf-8", "replace")
    if len(plain.translate(None, ASCII_CONTROL)) != len(plain):
        text = CONTROL.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text:
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n\n", text)
    return text.strip()


def storable(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, which JSON and file names may carry, are written out as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
