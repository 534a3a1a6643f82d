"""CVSS scores and vectors in words (FIRST: CVSS 2.0, 3.0, 3.1 and 4.0, their base metrics)."""

from __future__ import annotations

import re
from typing import Any

from forja.corpus.sources.phrasing import listed, said, unique

VECTOR = re.compile(r"(?:CVSS:\d\.\d/)?(?:[A-Za-z]{1,3}:[A-Za-z]{1,10}/?){3,40}")
REACH = {
    "N": "reachable over the network",
    "A": "reachable from an adjacent network",
    "L": "needs local access",
    "P": "needs physical access",
}
COMPLEXITY = {"L": "low attack complexity", "M": "medium attack complexity", "H": "high attack complexity"}
PRIVILEGES = {"N": "no privileges needed", "L": "low privileges needed", "H": "high privileges needed"}
INTERACTION = {
    "N": "no user interaction",
    "R": "user interaction required",
    "P": "passive user interaction",
    "A": "active user interaction",
}
AUTHENTICATION = {"N": "no authentication", "S": "single authentication", "M": "multiple authentication"}
SCOPE = {"C": "scope changed"}
CONDITIONS = {"P": "attack requirements present"}
DEGREES = {"N": "none", "L": "low", "H": "high", "P": "partial", "C": "complete"}
OWN = (("C", "confidentiality"), ("I", "integrity"), ("A", "availability"))
VULNERABLE = (("VC", "confidentiality"), ("VI", "integrity"), ("VA", "availability"))
SUBSEQUENT = (("SC", "confidentiality"), ("SI", "integrity"), ("SA", "availability"))


def score_of(data: Any) -> float | None:
    """The base score of a CVSS object, 0 to 10."""
    score = data.get("baseScore") if isinstance(data, dict) else None
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 10 else None


def severities(scores: list[dict[str, Any]]) -> str:
    """A line for each score: the first with what its vector says, the others only with what differs from it."""
    lines: list[str] = []
    for data in scores:
        line = severity_sentence(data, in_words=not lines)
        if line:
            lines.append(f"Severity: {line}" if not lines else f"Also {line}")
    return "\n".join(unique(lines))


def severity_sentence(data: dict[str, Any], *, in_words: bool = True) -> str:
    """CVSS 3.1 base score 9.8 (critical), vector ...: what it says. Empty where there is no score."""
    score = score_of(data)
    if score is None:
        return ""
    vector = said(data.get("vectorString"))
    vector = vector if VECTOR.fullmatch(vector) else ""
    version = said(data.get("version")) or (vector[5:8] if vector.startswith("CVSS:") else "2.0")
    level = (said(data.get("baseSeverity")) or _severity(score, version)).lower()
    words = vector_in_words(vector) if in_words else ""
    about = f", vector {vector}" if vector else ""
    return f"CVSS {version} base score {score:.1f} ({level}){about}{': ' + words if words else ''}."


def _severity(score: float, version: str) -> str:
    """The qualitative rating scale of CVSS 3 and 4 (section 5 of 3.1, section 6 of 4.0); that of NVD for 2.0."""
    if version.startswith("2"):
        return "low" if score < 4 else "medium" if score < 7 else "high"
    if score == 0:
        return "none"
    return "low" if score < 4 else "medium" if score < 7 else "high" if score < 9 else "critical"


def vector_in_words(vector: str) -> str:
    """What the base metrics say; empty for no vector."""
    pairs = [
        part.split(":", 1) for part in vector.rstrip("/").split("/") if ":" in part and not part.startswith("CVSS")
    ]
    metrics = {pair[0]: pair[1] for pair in pairs}
    words = [
        names.get(metrics.get(metric, ""), "")
        for metric, names in (
            ("AV", REACH),
            ("AC", COMPLEXITY),
            ("AT", CONDITIONS),
            ("PR", PRIVILEGES),
            ("Au", AUTHENTICATION),
            ("UI", INTERACTION),
            ("S", SCOPE),
        )
    ]
    if "VC" in metrics:
        words += [_impact(metrics, VULNERABLE, "impact on"), _impact(metrics, SUBSEQUENT, "impact on other systems'")]
    else:
        words.append(_impact(metrics, OWN, "impact on"))
    return ", ".join(word for word in words if word)


def _impact(metrics: dict[str, str], names: tuple[tuple[str, str], ...], of: str) -> str:
    found = [(word, DEGREES.get(metrics.get(name, ""), "")) for name, word in names]
    hit = [f"{word} {degree}" for word, degree in found if degree and degree != "none"]
    if hit:
        return f"{of} {listed(hit)}"
    return "no impact on confidentiality, integrity or availability" if found[0][1] and of == "impact on" else ""
