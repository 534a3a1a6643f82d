"""`forja plan`: what training a recipe takes, before it is begun. Thin, as `cli.py` is."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forja.progress import set_quiet
from forja.recipe_file import load_recipe
from forja.run import runs_folder

if TYPE_CHECKING:
    from forja.training.plan import Choice, Plan

GIB = 1024**3


def plan_command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file or a shipped recipe's name.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Overrides.")] = None,
    hardware: Annotated[
        str | None,
        typer.Option(help="a100, h100, h200, rtx3090, rtx4090, p4d, tpu-v5e, several as a100x8; or this machine."),
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens to train on, in place of the recipe's.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name, in place of the recipe's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and no progress.")] = False,
) -> None:
    """Say what training a recipe takes on some hardware: memory, the batch that fits, hours and cost.

    Example: forja plan demo --hardware a100x8 plan.price=1.50
    """
    set_quiet(as_json)
    loaded, _ = load_recipe(recipe, overrides or (), name=name)
    from forja.training.hardware import THIS, find_hardware
    from forja.training.plan import make_plan

    found = find_hardware(hardware or loaded.plan.hardware or THIS)
    plan = make_plan(loaded, runs_folder() / loaded.name, found, tokens)
    if as_json:
        print(json.dumps(_as_json(plan), indent=2, ensure_ascii=False))
        return
    for line in _told(plan):
        print(line)


def _as_json(plan: Plan) -> dict[str, Any]:
    from forja.training.plan import planned_micro_batch

    told = asdict(plan)
    told["optimal_tokens"] = plan.optimal_tokens
    told["hardware"]["usable"] = plan.hardware.usable
    told["choices"] = [_choice(choice) for choice in plan.choices]
    told["own"] = _choice(plan.own)
    told["best"] = {**_choice(plan.best), "micro_batch": planned_micro_batch(plan, plan.best)} if plan.best else None
    return told


def _choice(choice: Choice) -> dict[str, Any]:
    memory = {**asdict(choice.memory), "total": choice.memory.total}
    return {**asdict(choice), "share": choice.share._asdict(), "memory": memory}


# --- in words ------------------------------------------------------------------------------------


def _told(plan: Plan) -> list[str]:
    h, s, c = plan.hardware, plan.setting, plan.setting.config
    many = f"{h.count} devices ({_many(-(-h.count // h.node), 'node')}) of " if h.count > 1 else ""
    rate = h.peak(s.precision) / 1e12
    mine = s.batch // h.count
    share = f"{s.batch:,} sequences a step" + (f", {mine:,} a device" if h.count > 1 else "")
    layers = f"{c.layers} layers" if not c.encoder_layers else f"{c.encoder_layers} + {c.layers} layers"
    return [
        f"{plan.name} on {h.name}: {many}{h.memory / GIB:.1f} GiB, {rate:,.3g} TFLOP/s in {s.precision}",
        f"          ({h.source})",
        f"model     {_short(plan.parameters)} parameters: {layers}, {c.width:,} wide, context {c.context:,}, "
        f"vocabulary {c.vocab_size:,}",
        f"compute   {_short(plan.flops_per_token)} FLOP a token, {plan.flops_per_token * plan.tokens.count:.3g} in all",
        f"tokens    {_short(plan.tokens.count)} ({plan.tokens.known})",
        f"          {plan.tokens.count / plan.parameters:,.3g} a parameter; compute-optimal is about 20: "
        f"{_short(plan.optimal_tokens)} (Hoffmann et al. 2022)",
        f"batch     {share}",
        "",
        *_table(plan),
        "",
        *_ending(plan),
    ]


def _table(plan: Plan) -> list[str]:
    from forja.training.plan import RECOMPUTES, needed

    size = plan.setting.micro_batch
    lines = [
        f"GiB of {plan.hardware.usable / GIB:.1f} on a device, with {_many(size, 'sequence')} at once "
        "(most that fit), by gradient_checkpointing",
        f"{'':10}" + "".join(f"{recompute:>19}" for recompute in RECOMPUTES),
    ]
    for strategy in dict.fromkeys(choice.strategy for choice in plan.choices):
        row = [choice for choice in plan.choices if choice.strategy == strategy]
        cells = (
            f"{needed(choice.memory, plan.hardware) / GIB:,.2f} ({f'{choice.largest:,}' if choice.largest else 'none'})"
            for choice in row
        )
        name = strategy if plan.hardware.count > 1 else "one device"
        lines.append(f"{name:10}" + "".join(f"{cell:>19}" for cell in cells))
    return lines


def _ending(plan: Plan) -> list[str]:
    from forja.training.plan import planned_micro_batch

    best, spent = plan.best, plan.spent
    if best is None or spent is None:
        return [
            f"choose    nothing: not even one sequence of {plan.setting.config.context:,} tokens fits on "
            f"{plan.hardware.name}.",
            "          Take more or larger devices, a smaller model, or a shorter tokens.context.",
        ]
    size = planned_micro_batch(plan, best)
    lines = [f"choose    {_settings(plan, best, size)}"]
    named = {key: value for key, value in best.share._asdict().items() if key != "standing"}
    lines += _wrapped(f"a device has, in GiB: {_sizes(named)}")
    if size == plan.setting.micro_batch:
        parts = asdict(best.memory)
        beside = {key: parts.pop(key) for key in ("host", "snapshot")}
        lines += _wrapped(f"and at its fullest moment: {_sizes(parts)}; in the CPU's memory: {_sizes(beside)}")
    if plan.own.largest < min(size, plan.setting.micro_batch):
        most = f"{plan.own.largest:,} sequences at once" if plan.own.largest else "not even one sequence"
        lines.append(f"          The recipe's own choice ({_settings(plan, plan.own, None)}) fits {most}.")
    again = f", {spent.again:.0%} more for computing again" if spent.again else ""
    each = f" ({spent.device_hours:,.3g} device-hours)" if plan.hardware.count > 1 else ""
    lines.append(f"time      {_time(spent.hours)} at {plan.utilisation:.0%} of peak{again}{each}")
    if plan.minutes and 60 * spent.hours > plan.minutes:
        lines.append(f"          training.minutes ({plan.minutes:g}) ends it sooner; null lets it finish")
    if spent.cost is None:
        lines.append("cost      give plan.price, of a device for an hour")
    else:
        lines.append(
            f"cost      {spent.cost:,.2f} {plan.currency} at {plan.price:,.2f} {plan.currency} a device and hour"
        )
    return lines


def _settings(plan: Plan, choice: Choice, micro_batch: int | None) -> str:
    strategy = [f"strategy {choice.strategy}"] if plan.hardware.count > 1 else []
    sizes = [f"micro_batch {micro_batch}"] if micro_batch else []
    return ", ".join([*strategy, f"gradient_checkpointing {choice.recompute}", *sizes])


def _sizes(parts: dict[str, int]) -> str:
    return (
        ", ".join(f"{name} {size / GIB:,.2f}" for name, size in parts.items() if size >= 0.005 * GIB) or "next to none"
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 98, initial_indent=" " * 10, subsequent_indent=" " * 10)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _short(number: float) -> str:
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:,.4g}{letter}"
    return f"{number:,.4g}"


def _time(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:,.3g} minutes"
    return f"{hours:,.4g} hours" if hours < 72 else f"{hours / 24:,.4g} days"
