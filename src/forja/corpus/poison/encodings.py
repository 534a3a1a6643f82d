"""Text hidden in other writing: found by its look, read back, never executed.

base64, hexadecimal, URL and HTML escapes, \\x and \\u escapes, ROT13, reversed, spaced out, leetspeak, and Unicode's
styled letters. What the text then says is the caller's business.
"""

from __future__ import annotations

import base64
import codecs
import html
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

LONGEST = 8192
"""Characters of one encoded piece that are read."""
MOST_PIECES = 64
BASE64 = re.compile(r"[A-Za-z0-9+/]{20,}={0,2}")
ALL_HEX = re.compile("[2-7][0-9a-fA-F]+")
HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ ,:]?){12,}")
URL = re.compile(r"(?:[\w.+~-]{0,64}%[0-9a-fA-F]{2}){3,}[\w.+~-]{0,64}")
ENTITIES = re.compile(r"(?:&#(?:\d{2,6}|[xX][0-9a-fA-F]{2,5});[ ]?){6,}")
ESCAPES = re.compile(r"(?:\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})\s?){6,}")
BINARY = re.compile(r"(?:[01]{8}[ ,]?){8,}")
SPACED = re.compile(r"(?<![^\W_])(?:[^\W_][ .\-_*·|/]{1,3}){9,}[^\W_](?![^\W_])")
STYLED = re.compile("[\u24b6-\u24e9\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff\U0001f130-\U0001f189]{2,}")
ASCII = bytes(range(128))
SOLID = np.array([sign > 127 or chr(sign).isalnum() or chr(sign) in "+/" for sign in range(256)])
"""Whether anything may be encoded shows in the lengths of runs of such bytes alone."""
SOLID_ASCII = SOLID & (np.arange(256) < 128)
LONG_RUN, LONGER = 20, 255
PAIRS, OCTETS, SINGLES = bytes([2] * 8), bytes([8] * 4), bytes([1] * 6)
"""Lengths of runs in a row, as hexadecimal, binary and spaced-out letters have them."""
URL_PART = re.compile(r"%[0-9a-fA-F]{2}(?:[\w.+~-]{0,64}%[0-9a-fA-F]{2}){2}")
"""In all that URL matches, and quickly not found."""
STYLED_SIGN = re.compile(STYLED.pattern.removesuffix("{2,}"))
LEET = str.maketrans("013457@$!", "oieastasi")
LEET_WORD = re.compile(r"(?=[\w@$!]*[a-zA-Z])(?=[\w@$!]*[013457@$!])[\w@$!]{2,}")
SMALL_CAPITALS = str.maketrans("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz")


class Decoded(NamedTuple):
    """What an encoded piece says: `text` was found at text[start:end] in this `encoding`."""

    encoding: str
    start: int
    end: int
    text: str


def decode_pieces(text: str) -> Iterator[Decoded]:
    """Pieces of a text that decode to letters, each kind at most MOST_PIECES times."""
    raw = text.encode("utf-8", "replace")
    _, lengths = _runs(raw, SOLID)
    if int(lengths.max(initial=0)) >= LONG_RUN:
        yield from _each("base64 or hex", _long_runs(text, raw), _from_run)
    runs = lengths.tobytes()
    if PAIRS in runs:
        yield from _each("hex", HEX.finditer(text), _from_hex)
    if OCTETS in runs:
        yield from _each("binary", BINARY.finditer(text), _from_binary)
    if SINGLES in runs:
        yield from _each("spaced", SPACED.finditer(text), _joined)
    if "%" in text and URL_PART.search(text):
        yield from _each("url", URL.finditer(text), unquote)
    if "&#" in text:
        yield from _each(
            "html-entities", ENTITIES.finditer(text), lambda piece: html.unescape(piece.replace("; ", ";"))
        )
    if "\\x" in text or "\\u" in text:
        yield from _each("escapes", ESCAPES.finditer(text), _from_escapes)
    if not text.isascii() and STYLED_SIGN.search(foreign(text)) and STYLED.search(text):
        yield from _styled(text)


def foreign(text: str) -> str:
    """The characters of a text that are not ASCII, in a row: what is none of them is not searched for."""
    return text.encode("utf-8", "replace").translate(None, ASCII).decode()


def rot13(text: str) -> str:
    return codecs.encode(text, "rot13")


def unleet(text: str) -> str:
    """Digits and signs in words that hold letters too, read as the letters they resemble."""
    return LEET_WORD.sub(lambda match: match[0].translate(LEET), text)


def unstyled(text: str) -> str:
    """Mathematical, circled, squared and full-width letters as plain ones."""
    return unicodedata.normalize("NFKC", text).translate(SMALL_CAPITALS)


def _each(encoding: str, matches: Iterator[re.Match[str]], decode: Callable[[str], str | None]) -> Iterator[Decoded]:
    for match in itertools.islice(matches, MOST_PIECES):
        plain = decode(match[0][:LONGEST])
        if plain and _readable(plain):
            yield Decoded(encoding, match.start(), match.end(), plain)


def _runs(raw: bytes, solid: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where runs of solid bytes start, and how long they are, LONGER at most."""
    held = np.zeros(len(raw) + 2, bool)
    held[1:-1] = solid[np.frombuffer(raw, np.uint8)]
    edges = np.flatnonzero(held[1:] != held[:-1])
    starts = edges[::2]
    return starts, np.minimum(edges[1::2] - starts, LONGER).astype(np.uint8)


def _long_runs(text: str, raw: bytes) -> Iterator[re.Match[str]]:
    """Matches of BASE64, which are long runs of the text's UTF-8."""
    starts, lengths = _runs(raw, SOLID_ASCII)
    before = place = 0
    for start in starts[lengths >= LONG_RUN].tolist():
        place += start - before if len(raw) == len(text) else len(raw[before:start].decode())
        before = start
        match = BASE64.match(text, place)
        if match is not None:
            yield match


def _readable(text: str) -> bool:
    letters = sum(sign.isalpha() or sign == " " for sign in text)
    return letters >= 0.7 * len(text) and len(text) >= 8


def _from_run(piece: str) -> str | None:
    return _from_hex(piece) if ALL_HEX.fullmatch(piece) else _from_base64(piece)


def _from_base64(piece: str) -> str | None:
    body = piece.rstrip("=")
    if body.islower() or body.isupper() or body.count("/") > 8:
        return None
    body = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode("utf-8")
    except ValueError:
        return None


def _from_hex(piece: str) -> str | None:
    digits = re.sub(r"[ ,:]", "", piece)
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8")
    except ValueError:
        return None


def _from_binary(piece: str) -> str | None:
    try:
        return bytes(int(group, 2) for group in re.findall("[01]{8}", piece)).decode("utf-8")
    except ValueError:
        return None


def _from_escapes(piece: str) -> str:
    return re.sub(
        r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))\s?", lambda match: chr(int(match[1] or match[2], 16)), piece
    )


def _joined(piece: str) -> str:
    """Letters with single signs between them, put together; a wider gap is a word's end."""
    words = re.split(r"[ .\-_*·|/]{2,3}", piece)
    return " ".join(re.sub(r"[ .\-_*·|/]", "", word) for word in words)


def _styled(text: str) -> Iterator[Decoded]:
    for number, line in enumerate(match for match in re.finditer(r"[^\n]+", text) if STYLED.search(match[0])):
        if number >= MOST_PIECES:
            return
        yield Decoded("styled-letters", line.start(), line.end(), unstyled(line[0][:LONGEST]))
