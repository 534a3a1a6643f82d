"""Pieces of Python as prompts and models give them: whether they parse, made whole, and cut where they should end.

Nothing here runs code.
"""

from __future__ import annotations

import ast
import re
import warnings

TOP = re.compile(r"^(?![ \t#)\]}'\"]|\s*$)", re.MULTILINE)
"""Where a line begins at the margin: a new statement, which is no part of the function that was asked for."""
FENCE = re.compile(r"```(?:[Pp]ython3?|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def is_valid(code: str) -> bool:
    """Whether it is Python's syntax."""
    return _tree(code) is not None


def _tree(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():  # of a backslash in a text that is none of Forja's
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def statements(code: str) -> int:
    """How many statements do something, so no docstring, lone name or `pass`; -1 of what is no valid Python."""
    tree = _tree(code)
    if tree is None:
        return -1
    return sum(isinstance(node, ast.stmt) and not _is_idle(node) for node in ast.walk(tree))


def _is_idle(node: ast.stmt) -> bool:
    lone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Name)
    return lone or isinstance(node, ast.Pass)


def closed(code: str) -> str:
    """Code that breaks off, made whole with `pass` where a block is due; as it is where that is not enough."""
    last = (code.rstrip().splitlines() or [""])[-1]
    indent = last[: len(last) - len(last.lstrip())]
    for ending in ("", "pass", f"\n{indent}    pass", f"\n{indent}\tpass", f"\n{indent}pass"):
        if is_valid(code + ending):
            return code + ending
    return code


def at_margin(code: str) -> str:
    """A piece from within a block, with blocks around it that it may be in, so that it parses as it stands, and with
    what leaves the block too."""
    first = next((line for line in code.splitlines() if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    step = "\t" if indent.startswith("\t") else "    "
    depth = -(-len(indent) // len(step))
    return "".join(f"{step * level}if True:\n" for level in range(depth)) + code


def cut(prompt: str, said: str) -> str:
    """The completion up to where another statement begins at the margin, if a function was to be continued, and without
    a last line that breaks off; of fenced code, what is in the fence. prompt: code, empty of a request in words."""
    fenced = FENCE.search(said)
    if fenced:
        return f"\n{fenced[1]}" if prompt else fenced[1]
    tree = _tree(closed(prompt))
    last = tree.body[-1] if tree and tree.body else None
    if isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and "\n" in said:
        for found in TOP.finditer(said, said.index("\n") + 1):
            if is_valid(prompt + said[: found.start()]):  # else it is within a text of several lines
                return said[: found.start()]
    unfinished = said[: said.rfind("\n") + 1]
    breaks_off = unfinished.strip() and not is_valid(prompt + said)
    return unfinished if breaks_off and is_valid(prompt + unfinished) else said
