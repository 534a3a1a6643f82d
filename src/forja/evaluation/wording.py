"""How the report says things: figures as people write them, and sentences on what figures mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from forja.evaluation.findings import Gap
from forja.progress import duration

FIRST_TARGET = 20.0
"""The perplexity a token on general text that a small model is first to reach."""


class Choice(NamedTuple):
    """A setting, what it came to, and what was measured for it."""

    setting: str
    chosen: str
    measured: str


def counted(value: float) -> str:
    """12,345"""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """12.3 M"""
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes: 12.3 MB, in powers of ten."""
    if value == 1:
        return "1 byte"
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= scale:
            return f"{value / scale:,.3g} {unit}" if value < 1000 * scale else f"{value / scale:,.0f} {unit}"
    return f"{value:.0f} bytes"


def percent(share: float) -> str:
    """91.3%, and never 0% of something or 100% of less than everything."""
    share = round(share, 9)  # shares that add up to 1 do so but for the last bits
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def plural(count: float, one: str, many: str | None = None) -> str:
    """1 document, 12,345 documents"""
    return f"{count:,.0f} {one if count == 1 else many or one + 's'}"


def decimal(value: float, digits: int = 2) -> str:
    return f"{value:,.{digits}f}"


def spent(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else "under 1s"


FILTERS: dict[str, Callable[..., str]] = {
    "counted": counted,
    "short": short,
    "size": size,
    "percent": percent,
    "plural": plural,
    "decimal": decimal,
    "spent": spent,
}


UNSURE_OF = {
    "next-token": "each next token",
    "masked": "each hidden token, the text on both sides in sight,",
    "span-corruption": "each token of a hidden span, the text around it in sight,",
    "prefix": "each next token of a sequence's second half",
}


def verdict(metrics: Mapping[str, float], objective: str = "next-token") -> str:
    """What the perplexity means, in the terms of the models that only count."""
    model, unigram = metrics["perplexity.test"], metrics["perplexity.unigram.test"]
    bigram = metrics.get("perplexity.bigram.test")
    meaning = (
        f"On documents that it never saw, the model is as unsure of {UNSURE_OF[objective]} as if it had to choose "
        f"among {model:,.1f} equally likely ones. Knowing only how frequent each token is leaves {unigram:,.1f}"
    )
    if bigram is None:
        counted, kind, beyond = unigram, "tokens", "it draws on the text around"
        meaning += "."
    else:
        counted, kind, beyond = bigram, "pairs", "it draws on much more than the token before"
        meaning += f"; knowing the token before as well (interpolated Kneser-Ney) leaves {bigram:,.1f}."
    if model >= counted:
        return f"{meaning} So it has not yet learned more than counting {kind} tells: train it longer, or on more text."
    times = f"{counted / model:.1f} times fewer"
    if model > counted / 2:
        return f"{meaning} So it has learned more than counting {kind} tells: it is left with {times}."
    return f"{meaning} The model is left with {times}: {beyond}."


def footing(objective: str) -> str:
    """On what the perplexities stand, and with what they compare."""
    if objective == "next-token":
        return (
            "All three models are measured on the same tokens, ends of documents included. Perplexity depends on the "
            "tokenizer; to compare with another model, use bits per byte."
        )
    if objective == "prefix":
        return (
            "All three models are measured on the same tokens, the second halves of held-out sequences. Perplexity "
            "depends on the tokenizer."
        )
    return (
        "Both models are measured on the same tokens, 15 in a hundred, which every run with this tokenizer and context "
        "hides alike. No bigram model stands beside them, as the token before a hidden one may be hidden too; and a "
        "model that sees both sides of a gap is not to be compared with one that reads forward."
    )


def target_sentence(perplexity: float) -> str:
    """Whether the first target is reached, in words that a narrow corpus does not flatter."""
    target = f"The first target on general text, a perplexity of {FIRST_TARGET:.0f}, is"
    if perplexity > FIRST_TARGET:
        above = math.ceil(100 * math.log(perplexity / FIRST_TARGET)) / 100
        return f"{target} not reached: the loss has still to fall by {above:.2f} nats a token."
    return f"{target} reached, on documents like those that went in: the narrower these are, the easier that is."


def gap_sentence(gap: Gap) -> str:
    """What the difference between training and validation loss means, and whether it was growing."""
    rise = ""
    if gap.later_rise > 0.05:
        rise = f" By the end of training the validation loss had risen again by {gap.later_rise:.2f}: it overfitted."
    return _gap_meaning(gap) + rise


def setbacks(rollbacks: int) -> str:
    """What it means that training went back so often; nothing where it never did."""
    if not rollbacks:
        return ""
    times = "once" if rollbacks == 1 else f"{rollbacks} times"
    return f"The loss diverged {times}, and training went back to a checkpoint: a lower learning rate would be safer."


def _gap_meaning(gap: Gap) -> str:
    apart = gap.nats
    told = (
        f"The weights kept are those of step {gap.step:,}: there the validation loss was {gap.valid:.3f} nats a token, "
        f"and {gap.train:.3f} in training just before"
    )
    if apart > 0.3:
        return (
            f"{told}. The gap of {apart:.2f} says that the model overfits: it partly remembers its training text, and "
            "more text helps."
        )
    if apart > 0.1:
        return f"{told}. The gap of {apart:.2f} is moderate overfitting."
    if apart > -0.1:
        return f"{told}. The gap of {apart:.2f} is no overfitting: more training or a larger model would still pay."
    return f"{told}. Training is {-apart:.2f} higher: the model was still improving, or validation is the easier text."


# --- what every `auto` came to ---------------------------------------------------------------


def choices(resolved: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Choice]:
    """A row for each setting that was resolved, with its measurement in words."""
    rows = [
        Choice(name.replace("_", "-"), _value(value), _measurement(name, resolved, measured))
        for name, value in resolved.items()
    ]
    told = {"precision", "compile", "steps", "step_seconds", *resolved}
    rows += [Choice(name.replace("_", "-"), "", _plain(value)) for name, value in measured.items() if name not in told]
    return rows


def _measurement(name: str, resolved: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    found = measured.get(name)
    step = measured.get("step_seconds")
    if name == "precision" and isinstance(found, Mapping) and isinstance(found.get("gflops"), Mapping):
        rates = (f"{kind} {f'{rate:,.0f}' if rate else 'far slower'}" for kind, rate in found["gflops"].items())
        return f"GFLOP/s of this model's products: {', '.join(rates)}"
    if name == "compile" and isinstance(found, Mapping) and step is not None and "step_seconds" in found:
        return (
            f"a step took {step:.3f} s as written, {found['step_seconds']:.3f} s compiled; "
            f"compiling took {found.get('seconds', 0):.0f} s"
        )
    if name == "steps" and step is not None:
        return f"a step took {step:.3f} s when measured"
    return _plain(found) if found is not None else ""


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_pair(str(key), member) for key, member in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,.4g}" if isinstance(value, float) else _value(value)


def _pair(key: str, value: Any) -> str:
    name, _, unit = key.rpartition("_")
    if name and unit in ("ms", "seconds"):
        return f"{name.replace('_', ' ')} {_plain(value)} {unit}"
    return f"{key.replace('_', ' ')} {_plain(value)}"
