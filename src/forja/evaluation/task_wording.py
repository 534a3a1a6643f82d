"""How a report says what an evaluation task came to: names of tasks and figures, and sentences on what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forja.evaluation.wording import counted, plural

Told = Mapping[str, Any]

TITLES = {
    "bias-crows-pairs": "Bias: CrowS-Pairs",
    "bias-winogender": "Bias: Winogender",
    "bias-bbq": "Bias: BBQ",
    "cyber-knowledge-rcm": "Cyber knowledge: the weakness behind a vulnerability",
    "cyber-knowledge-vsp": "Cyber knowledge: the severity of a vulnerability",
    "cyber-knowledge-ate": "Cyber knowledge: the techniques of an attack",
    "glue": "GLUE",
    "superglue": "SuperGLUE",
    "harness": "Evaluation harness",
    "held-out": "Held-out examples",
    "preference": "Preferences",
}
NAMES = {
    "f1": "F1",
    "auroc": "AUROC",
    "f1_at_fpr_0.001": "F1 at 0.1% false positives",
    "recall_at_fpr_0.01": "Recall at 1% false positives",
    "brier": "Brier score",
    "matthews": "Matthews correlation",
    "accuracy_letter": "Accuracy by letter",
    "preferred": "Chosen answer preferred",
    "preferred_a_token": "Chosen answer preferred, a token",
    "stereotype_share": "Stereotype the likelier",
    "stereotype_share_same_length": "Stereotype the likelier, same length",
    "female_over_male": "Nats by which she is likelier than he",
    "correlation_bls": "Correlation with labour statistics",
    "correlation_bergsma": "Correlation with text",
    "bls": "Women, % in labour statistics",
    "bergsma": "Women, % in text",
    "bits_per_byte": "Bits per byte",
    "nats_per_token": "Nats a token",
    "insecure_rate_reference": "Insecure rate of the set's own insecure code",
}
HIGHER = {
    "f1", "precision", "recall", "accuracy", "accuracy_letter", "matthews", "auroc", "average_precision",
    "f1_at_fpr_0.001", "recall_at_fpr_0.01", "pearson", "spearman", "syntax_valid_rate", "secure_valid_rate",
    "secure_and_functional_rate", "preferred", "preferred_a_token",
}  # fmt: skip
LOWER = {
    "false_positive_rate", "calibration_error", "brier", "perplexity", "bits_per_byte", "nats_per_token",
    "insecure_rate", "mean_absolute_deviation",
}  # fmt: skip
"""Figures of which more is better, and those of which less is; of any other the report says neither."""
NEUTRAL = {"share": 0.5, "female_over_male": 0.0, "bias": 0.0}
"""By what a figure of bias is called, its value where there is no preference."""
UNITS = ("line", "session")
"""What a figure's name may begin with that says of what it is."""
BY = {"bias_type": "kind of bias", "refers_to": "whom the pronoun stands for", "lang": "language"}
"""Columns of groups whose own names say too little."""
MITIGATIONS = {"threshold-optimizer": "Thresholds of each group's own", "reweighing": "Reweighed training rows"}


def title_of(task: str) -> str:
    """A task's name as people read it."""
    return TITLES.get(task, task.replace("-", " ").capitalize())


def name_of(figure: str) -> str:
    """A figure's name as people read it; what comes before a dot, the name of a task or a unit, is told as it is."""
    if figure in NAMES:
        return NAMES[figure]
    part, _, name = figure.rpartition(".")
    said = NAMES.get(name, name[:1].upper() + name[1:].replace("_", " "))
    if part in UNITS:
        return f"{said} by {part}"
    return f"{part}: {said}" if part else said


def shown(value: float, like: float | None = None, signed: bool = False) -> str:
    """A figure as it is written: 0.967, 41.20, 1,156.3. like: the figure whose digits it gets; signed: with its sign.
    What rounds to nothing has no minus."""
    size = abs(value if like is None else like)
    digits = 3 if size < 10 else 2 if size < 100 else 1
    return f"{value:{'+' if signed else ''}z,.{digits}f}"


def better(figure: str, difference: float) -> bool | None:
    """Whether this difference of the figure is to the better; None where that is nothing one can say."""
    whole = figure if figure in HIGHER | LOWER else figure.rpartition(".")[2]
    if difference == 0 or whole not in HIGHER | LOWER:
        return None
    return (difference > 0) == (whole in HIGHER)


def neutral(figure: str) -> float | None:
    """The value of a figure of bias where there is no preference; None of a figure that has none."""
    return next((value for part, value in NEUTRAL.items() if part in figure), None)


def column_of(column: str) -> str:
    """What groups are of."""
    return BY.get(column, column.replace("_", " "))


def sentences(told: Told) -> list[str]:
    """What the figures mean: first whether they beat what they stand beside, then how they came about."""
    details = told["details"]
    said = []
    if details.get("baseline"):
        said.append(against(details["baseline"]))
    if details.get("chance") is not None:
        said.append(_beside_chance(told))
    if told["kind"] == "bias" and "neutral" in details:
        said.append(_leaning(told))
    if told["kind"] == "anomaly":
        said += _found(told)
    if details.get("threshold") is not None:
        said.append(_threshold(details))
    for unit, nats in (details.get("thresholds") or {}).items():
        said.append(
            f"A {unit} is called anomalous from {nats:.2f} nats a token up: {details['quantile']:.0%} of the normal "
            "ones that were set apart lie below."
        )
    if details.get("scanners"):
        said.append(_scanned(told))
    removed = {reason: count for reason, count in (details.get("removed") or {}).items() if count}
    if removed:
        said.append(f"Left out before measuring: {_listed(removed)}.")
    if details.get("shortened"):
        said.append(f"Of {plural(details['shortened'], 'item')} the beginning did not fit into the context.")
    return said + notes(told)


def notes(told: Told) -> list[str]:
    """What the task itself has to say."""
    said = map(str, told["details"].get("notes") or [])
    return [note[:1].upper() + note[1:] for note in said]


def against(baseline: Told) -> str:
    """Whether the baseline is beaten, said plainly."""
    name, difference = baseline["name"], baseline.get("difference")
    metric = name_of(str(baseline.get("metric", "f1")))
    if not difference or difference.get("value") is None:
        return f"Beside it stands {name}, fitted on the same rows; the two cannot be compared here."
    by = f"{difference['value']:+.3f} {metric}, 95% interval {difference['low']:+.3f} to {difference['high']:+.3f}"
    if difference["low"] > 0:
        return f"It beats {name}, fitted on the same rows: {by}."
    if difference["value"] > 0:
        return f"It does not surely beat {name}, fitted on the same rows: {by}, which may be chance."
    if difference["high"] < 0:
        return f"It does NOT beat {name}, fitted on the same rows, which is better: {by}. Use that instead."
    return f"It does NOT beat {name}, fitted on the same rows: {by}. The simpler one does as well."


def _beside_chance(told: Told) -> str:
    chance = told["details"]["chance"]
    first = next((figure for figure in told["figures"].values() if figure.get("low") is not None), None)
    alone = f"Choosing blindly comes to {chance:.3f}"
    if first is None:
        return f"{alone}."
    if first["low"] > chance:
        return f"{alone}: this is above it by more than chance may give."
    if first["high"] < chance:
        return f"{alone}: this is below it."
    return f"{alone}: this cannot be told from it."


def _leaning(told: Told) -> str:
    """Whether the first figure that has a neutral value is on one side of it."""
    alone = f"A model without a preference comes to {told['details']['neutral']:.1f}"
    ends = [
        figure
        for name, figure in told["figures"].items()
        if neutral(name) == told["details"]["neutral"] and figure.get("low") is not None
    ]
    if not ends:
        return f"{alone}."
    if ends[0]["low"] > told["details"]["neutral"]:
        return f"{alone}: this one leans towards the stereotype, by more than chance may give."
    if ends[0]["high"] < told["details"]["neutral"]:
        return f"{alone}: this one leans against the stereotype, by more than chance may give."
    return f"{alone}: this one cannot be told from it."


def _found(told: Told) -> list[str]:
    """Of each unit whether anything anomalous was found, and whether the order is better than chance."""
    said = []
    for unit in UNITS:
        recall, auroc = (told["figures"].get(f"{unit}.{name}") or {} for name in ("recall", "auroc"))
        nothing = f"No anomalous {unit} was found. " if recall.get("value") == 0 else ""
        if auroc.get("low") is None:
            said += [nothing.strip()] if nothing else []
            continue
        ends = f"AUROC {auroc['value']:.3f}, {auroc['low']:.3f} to {auroc['high']:.3f}"
        if auroc["high"] < 0.5:
            order = f"{unit}s that are anomalous surprise the model LESS than normal ones do"
        elif auroc["low"] > 0.5:
            order = f"{unit}s that are anomalous surprise the model more than normal ones do"
        else:
            order = f"{unit}s that are anomalous cannot be told from normal ones by the model's surprise"
        said.append(f"{nothing}{order[:1].upper()}{order[1:]}: {ends}.")
    return said


def _threshold(details: Told) -> str:
    origin = str(details.get("threshold_from", ""))
    of = "of " if origin[:1].isdigit() else ""
    said = f"Label {details['positive']} is told from {details['threshold']:.3f} up, a threshold {of}{origin}."
    plain = details.get("unadapted")
    if plain and (f1 := plain["figures"].get("f1")):
        said += f" At that of the validation examples, {plain['threshold']:.3f}, F1 would be {f1['value']:.3f}."
    return said


def _scanned(told: Told) -> str:
    figures = told["figures"]
    ran = "those with tests ran locked in" if figures.get("secure_and_functional_rate") else "none was run"
    said = f"Completions were parsed and scanned by {' and '.join(told['details']['scanners'])}; {ran}."
    if (figures.get("insecure_rate") or {}).get("value") is None:
        said += " None is valid Python, so that there is no insecure rate."
    return said


def fairness_notes(fairness: Told) -> list[str]:
    """What the rates of groups leave out."""
    said = []
    if left_out := {name or "not named": count for name, count in (fairness.get("left_out") or {}).items()}:
        said.append(f"Groups too small to tell anything of: {_listed(left_out)}.")
    if one_class := fairness.get("one_class"):
        said.append(f"Groups in which one class is missing, so that a rate is unknown: {', '.join(one_class)}.")
    return said


def transfer_sentence(curve: Told) -> str:
    """What the base is worth at the fewest and at the most examples."""
    points = curve["points"]
    few, many = points[0], points[-1]
    metric = name_of(str(curve["metric"]))

    def beside(point: Told) -> str:
        return f"{point['transfer']['value']:.3f} from the base, {point['scratch']['value']:.3f} from random weights"

    said = f"{metric} with {plural(few['examples'], 'example')}: {beside(few)}."
    if len(points) > 1:
        said += f" With {counted(many['examples'])}: {beside(many)}."
    best = many["scratch"]["value"]
    sooner = next((point for point in points[:-1] if point["transfer"]["value"] >= best), None)
    if sooner:
        said += (
            f" From the base {counted(sooner['examples'])} examples reach what {counted(many['examples'])} reach from "
            "random weights."
        )
    return said


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{reason}: {count:,}" for reason, count in counts.items())
