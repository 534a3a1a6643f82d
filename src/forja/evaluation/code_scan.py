"""Python code scanned for weaknesses, never run: bandit, and semgrep with Forja's own rules where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forja.errors import ForjaError
from forja.evaluation.code_pieces import is_valid

RULES = Path(__file__).parent / "rules" / "semgrep"
SECONDS = 600
SEVERE = ("MEDIUM", "HIGH", "ERROR", "WARNING")
"""Severities that count: bandit's two upper ones, and semgrep's."""
NOT_SCANNED = "not-scanned"


@dataclass(frozen=True)
class Finding:
    """A weakness that a scanner sees: its rule, CWE number where one is given, severity and line (from 1)."""

    rule: str
    cwe: int | None
    severity: str
    line: int


def scanners() -> list[str]:
    """The scanners that are here. Raises ForjaError where bandit is not."""
    if find_spec("bandit") is None:
        raise ForjaError("scanning code needs bandit, which is not installed.", fix="pip install 'forja[evaluation]'")
    return ["bandit", *(["semgrep"] if shutil.which("semgrep") else [])]


def scan(codes: Sequence[str]) -> list[list[Finding]]:
    """The severe findings in each piece of code, by line. What is no valid Python has none; what a scanner fails on has
    NOT_SCANNED, as nothing speaks for it. Comments that silence a scanner are not heeded. Raises ForjaError."""
    names = scanners()
    found: list[list[Finding]] = [[] for _ in codes]
    with tempfile.TemporaryDirectory(prefix="forja-scan-") as folder:
        for number, code in enumerate(codes):
            if is_valid(code):
                (Path(folder) / f"{number}.py").write_text(code, encoding="utf-8", errors="replace")
        told = _bandit(folder)
        if "semgrep" in names:
            told += _semgrep(folder)
        for name, finding in told:
            if finding.severity in SEVERE:
                found[int(Path(name).stem)].append(finding)
    return [sorted(members, key=lambda finding: (finding.line, finding.rule)) for members in found]


def _bandit(folder: str) -> list[tuple[str, Finding]]:
    command = [sys.executable, "-I", "-m", "bandit", "--quiet", "--ignore-nosec", "--format", "json"]
    told = _told([*command, "--recursive", folder], "bandit")
    failed = [(one["filename"], Finding(NOT_SCANNED, None, "ERROR", 1)) for one in told["errors"]]
    return failed + [
        (
            one["filename"],
            Finding(one["test_id"], (one.get("issue_cwe") or {}).get("id"), one["issue_severity"], one["line_number"]),
        )
        for one in told["results"]
    ]


def _semgrep(folder: str) -> list[tuple[str, Finding]]:
    command = ["semgrep", "scan", "--config", str(RULES), "--json", "--quiet", "--metrics=off", "--disable-nosem"]
    told = _told([*command, "--disable-version-check", "--no-git-ignore", folder], "semgrep")
    failed = [(one["path"], Finding(NOT_SCANNED, None, "ERROR", 1)) for one in told["errors"] if "path" in one]
    return failed + [
        (
            one["path"],
            Finding(
                one["check_id"].rsplit(".", 1)[-1],
                one["extra"]["metadata"].get("cwe"),
                one["extra"]["severity"],
                one["start"]["line"],
            ),
        )
        for one in told["results"]
    ]


def _told(command: list[str], name: str) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise ForjaError(f"{name} did not end within {SECONDS} seconds.") from None
    except ValueError:
        raise ForjaError(f"{name} failed ({(done.stderr.strip().splitlines() or ['without a word'])[-1]}).") from None
