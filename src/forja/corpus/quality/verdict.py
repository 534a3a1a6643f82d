"""What a rule says of a document that it rejects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """rule: set and rule, `gopher_quality.mean_word_length`; value: what the document has; threshold: what it may."""

    rule: str
    value: float
    threshold: float

    def __str__(self) -> str:
        return f"{self.rule}: {self.value:.4g} (threshold {self.threshold:.4g})"
