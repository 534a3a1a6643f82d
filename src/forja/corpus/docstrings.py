"""Python source, package metadata and manual pages to the prose inside them."""

from __future__ import annotations

import ast
import gzip
import re
import warnings
import zlib

MIN_DOCSTRING = 40
"""Characters below which a docstring says too little to be kept."""


def python_to_text(raw: bytes) -> str | None:
    """The docstrings of a module, each under its name and signature; None where it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the warnings of other people's code
            tree = ast.parse(raw)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    parts: list[str] = []
    _collect(tree, "", parts)
    return "\n\n".join(parts)


def _collect(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, path: str, parts: list[str]
) -> None:
    said = ast.get_docstring(node)
    if said and len(said) >= MIN_DOCSTRING:
        parts.append(f"{_heading(node, path)}{said}")
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return  # what is defined inside a function is nobody's interface
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            _collect(child, f"{path}{child.name}." if isinstance(child, ast.ClassDef) else path, parts)


def _heading(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, path: str) -> str:
    if isinstance(node, ast.Module):
        return ""
    if isinstance(node, ast.ClassDef):
        return f"class {path.rstrip('.')}\n\n"
    return f"{path}{node.name}({', '.join(argument.arg for argument in node.args.args)})\n\n"


def metadata_to_text(raw: bytes) -> str:
    """A package's name, summary and description (core metadata, PyPA); its other fields are for installers."""
    head, _, description = raw.decode("utf-8", errors="replace").replace("\r\n", "\n").partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line and not line.startswith(" "))
    return f"{fields.get('Name', '')}: {fields.get('Summary', '')}\n\n{description}"


ESCAPES = {
    r"\-": "-",
    r"\&": "",
    r"\|": "",
    r"\^": "",
    r"\ ": " ",
    r"\~": " ",
    r"\e": "\\",
    r"\(aq": "'",
    r"\(dq": '"',
    r"\(lq": '"',
    r"\(rq": '"',
    r"\(oq": "'",
    r"\(cq": "'",
    r"\(em": "-",
    r"\(en": "-",
    r"\(bu": "*",
    r"\(co": "(c)",
    r"\(ti": "~",
    r"\(ha": "^",
    r"\(rs": "\\",
    r"\[aq]": "'",
    r"\[dq]": '"',
}
FONT = re.compile(r"\\f(?:\[[^\]]*\]|\(..|.)|\\s[+-]?\d|\\[mM]\[[^\]]*\]|\\\*\([A-Za-z]{2}|\\\*.|\\[hvwz]'[^']*'")
SYMBOL = re.compile(r"\\(?:\([a-z]{2}|\[[a-z]{2}\]|[-&|^ ~e])")
HEADING = re.compile(r"\.\s*(?:SH|SS|Sh|Ss)\s+(.*)")
PARAGRAPH = re.compile(r"\.\s*(?:PP|P|LP|TP|IP|Pp|It|HP|sp)\b\s*(.*)")
INDENT = re.compile(r"(?:^|\s+)\+?[\d.]+[a-z]?$")
INLINE = re.compile(r"\.\s*(?:B|I|BR|IR|RB|RI|BI|IB|SM|SB|Nm|Ar|Fl|Cm|Op|Xr|Pa|Ev|Em|Sy|Li|Ic|Nd|Dq|Sq|Ql)\b\s*(.*)")


def roff_to_text(raw: bytes) -> str | None:
    """A manual page, packed or not, as plain text: headings, paragraphs and words, no layout."""
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            return None
    lines: list[str] = []
    skipping = False
    for line in raw.decode("utf-8", errors="replace").splitlines():
        if line.startswith((".ig", ".de", ".TS")):
            skipping = True
        elif skipping:
            skipping = not line.startswith(("..", ".TE"))
        else:
            _roff_line(line, lines)
    if len(lines) < 3 and raw.startswith(b".so "):
        return ""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _roff_line(line: str, lines: list[str]) -> None:
    if line.startswith((r".\"", r"'\"", r"\"")):
        return
    if match := HEADING.match(line):
        lines.append(f"\n{_plain(match[1])}\n")
    elif match := PARAGRAPH.match(line):
        lines.append("")
        if told := INDENT.sub("", match[1].strip()):
            lines.append(_plain(told))
    elif match := INLINE.match(line):
        lines.append(_plain(match[1]))
    elif not line.startswith((".", "'")):
        lines.append(_plain(line))


def _plain(text: str) -> str:
    text = FONT.sub("", text)
    text = SYMBOL.sub(lambda match: ESCAPES.get(match[0], ""), text)
    return text.replace('"', "").replace("\\", "").strip() if text.startswith('"') else text.rstrip()
