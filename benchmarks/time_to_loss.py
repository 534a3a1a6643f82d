"""Time to nanoGPT's loss: how long its small-model recipe takes to where it ends, and how long Forja's `modern` takes.

    python benchmarks/time_to_loss.py DATA --nanogpt ~/nanoGPT --cache runs/time-to-loss

DATA holds `general` and `security` text. Forja's own stages make tokens of it once, by `time_to_loss.yaml`, and all
train on them: one shape (6 layers, 384 wide, 6 heads, context 256, vocabulary 8192), 16 sequences a step, bf16. nanoGPT
trains for 1,000 steps at its published rate and at others; Forja for whole schedules of rising length, until one ends
where nanoGPT did. All are judged on the same held-out windows by the same precision; steps are timed in turns, in
processes of their own, and what Forja's first weights take is part of its time. Curves are kept in the cache, so the
script goes on from where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

import forja
from train_cpu import SHAPES, nanogpt_commit, processor, run_round, start, stop

RECIPE = Path(__file__).with_suffix(".yaml")
SOURCES = ("general", "security/attack_capec_cwe_text.jsonl.gz", "security/cve_text.jsonl.gz",
           "security/owasp_docs.jsonl.gz")  # fmt: skip
SHAPE = SHAPES["tiny"]
NANOGPT_STEPS, WARM_UP, PUBLISHED = 1000, 100, 1e-3
"""config/train_shakespeare_char.py with 1,000 steps, no dropout and 16 sequences; its rate falls to a tenth."""
WINDOWS = 256
"""Held-out sequences that every loss here is a mean over."""

Curve = list[tuple[int, float]]
"""Steps done and the validation loss then, in nats a token."""


def main() -> None:
    options = arguments()
    tokens = make_tokens(options)
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"nanoGPT: {nanogpt_commit(options)}\n")
    peers = {rate: nanogpt_curve(tokens, rate, options) for rate in options.rates}
    ends = {rate: curve[-1][1] for rate, curve in peers.items()}
    best = min(ends, key=lambda rate: ends[rate])
    ours: dict[int, list[Curve]] = {}
    for steps in options.lengths:
        ours[steps] = [forja_curve(tokens, steps, seed, options) for seed in range(options.seeds)]
        if end(ours[steps]) <= ends[best]:
            break
    print_curves(peers, ours)
    if not options.no_timing:
        print_times(step_seconds(tokens, options), first_seconds(tokens, options), ends, best, ours)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with general/ and security/")
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--nanogpt-commit", help="its commit, where the folder is no git checkout")
    parser.add_argument("--cache", type=Path, required=True, help="where tokens and curves are kept")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3, 5e-4], help="nanoGPT's peak rates")
    parser.add_argument("--lengths", type=int, nargs="+", default=[60, 70, 80, 90, 100, 110, 120, 135, 150, 170, 200])
    parser.add_argument("--seeds", type=int, default=1, help="Forja's runs of each length; the mean must reach")
    parser.add_argument("--recipe", default=str(RECIPE), help="Forja's recipe")
    parser.add_argument("--rounds", type=int, default=8, help="turns of timed steps")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each a turn")
    parser.add_argument("--threads", type=int, default=0, help="0: one a physical core")
    parser.add_argument("--no-timing", action="store_true", help="only the curves")
    parser.set_defaults(no_compile=False)
    return parser.parse_args()


def make_tokens(options: argparse.Namespace) -> Path:
    """The tokens folder, made by Forja's stages where it is not up to date."""
    from forja.pipeline import run_stages
    from forja.recipe_file import load_recipe
    from forja.run import Run

    recipe, base = load_recipe(options.recipe, sources=[str(options.data / name) for name in SOURCES])
    run = Run(options.cache / "corpus")
    run_stages(run, recipe, base, last="tokens")
    return run.folder / "tokens"


# --- curves ------------------------------------------------------------------------------------


def kept(path: Path, make: Callable[..., Curve], *arguments: Any) -> Curve:
    """The curve in `path`, or the one that `make` gives, in a process of its own."""
    if not path.exists():
        print(f"training {path.stem}", file=sys.stderr, flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            curve = process.submit(make, *arguments).result()
        path.write_text(json.dumps(curve))
    return [(int(step), float(loss)) for step, loss in json.loads(path.read_text())]


def digest_of(paths: Iterable[Path], more: str = "") -> str:
    whole = hashlib.sha256(more.encode())
    for path in paths:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:10]


def nanogpt_curve(tokens: Path, rate: float, options: argparse.Namespace) -> Curve:
    name = f"nanogpt-{rate:g}-{digest_of([options.nanogpt / 'model.py', *sorted(tokens.glob('*.bin'))])}"
    place = options.cache / "curves"
    return kept(place / f"{name}.json", train_nanogpt, tokens, rate, options.nanogpt, place / f"{name}.pt")


def forja_curve(tokens: Path, steps: int, seed: int, options: argparse.Namespace) -> Curve:
    code = (
        path for room in ("models", "training") for path in sorted((Path(forja.__file__).parent / room).glob("*.py"))
    )
    key = digest_of([*code, Path(options.recipe), *sorted(tokens.glob("*.bin"))])
    name = f"forja-{steps}-seed{seed}-{key}.json"
    return kept(options.cache / "curves" / name, train_forja, tokens, steps, seed, options.recipe)


def held_out(tokens: Path) -> list[Any]:
    """The windows that all are judged on, a batch at a time."""
    from forja.tokens.loader import TokenSplit, read_slots, spread_slots
    from forja.training.rules import micro_batches

    split = TokenSplit.open(tokens, "valid")
    return list(micro_batches(read_slots(split, spread_slots(split.sequences, WINDOWS)), SHAPE.batch))


def train_nanogpt(tokens: Path, rate: float, checkout: Path, checkpoint: Path) -> Curve:
    """nanoGPT's model, optimizer and schedule as in its train.py, compiled, in bf16 autocast; it goes on from
    `checkpoint` where that is there."""
    from forja.training.machine import keep_memory, physical_cores

    keep_memory()  # changes no loss, and the curve is not what is timed
    torch.set_num_threads(physical_cores())
    from train_workers import random_windows

    sys.path.insert(0, str(checkout))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    torch.manual_seed(1337)
    model = GPT(GPTConfig(block_size=256, vocab_size=8192, n_layer=6, n_head=6, n_embd=384, dropout=0.0, bias=False))
    optimizer = model.configure_optimizers(0.1, rate, (0.9, 0.99), "cpu")
    compiled = torch.compile(model)
    windows = held_out(tokens)
    curve: Curve = []
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        curve = saved["curve"]
    for step in range(curve[-1][0] if curve else 0, NANOGPT_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = nanogpt_rate(step, rate)
        x, y = random_windows(SHAPE, tokens)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, loss = compiled(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0:
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                losses = [model(part.inputs, part.targets.contiguous())[1].item() for part in windows]
            curve.append((step + 1, statistics.mean(losses)))
            print(f"  {step + 1}: {curve[-1][1]:.4f}", file=sys.stderr, flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "rng": torch.get_rng_state(), "curve": curve}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    checkpoint.unlink(missing_ok=True)
    return curve


def nanogpt_rate(step: int, peak: float) -> float:
    """train.py's `get_lr`: linear warm-up, then a cosine to a tenth."""
    if step < WARM_UP:
        return peak * (step + 1) / (WARM_UP + 1)
    progress = (step - WARM_UP) / (NANOGPT_STEPS - WARM_UP)
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


def train_forja(tokens: Path, steps: int, seed: int, recipe_file: str, every: int = 0) -> Curve:
    """The updates that `forja pretrain` would make with `training.steps` so, validated `every` so many steps."""
    from forja.tokens.loader import Batches
    from forja.training.attention import choose_attention
    from forja.training.learner import Learner
    from forja.training.loop import mean_loss, update
    from forja.training.objectives import next_token
    from forja.training.optimizers import build_optimizer
    from forja.training.resolve import optimizer_settings
    from forja.training.rules import MeanGradient
    from forja.training.schedules import schedule
    from forja.training.strategy import OneProcess

    section, split, model, _ = begun(tokens, seed, recipe_file)
    model.use_attention(choose_attention(model.config, SHAPE.batch, "bf16", "cpu")[0])
    learner = Learner(model, next_token)
    batches, strategy = Batches(split, batch_size=SHAPE.batch, seed=seed), OneProcess("bf16")
    optimizer = build_optimizer(model, optimizer_settings(section.optimizer))
    rule, shape = MeanGradient(SHAPE.batch, section.optimizer.clip), section.schedule
    factor = schedule(shape.kind, steps, warmup=shape.warmup, decay=shape.decay, floor=shape.floor)
    validate = mean_loss(held_out(tokens))
    curve: Curve = []
    every = every or math.ceil(steps / 5)
    for step in range(steps):
        update(learner, batches.global_batch(step), rule, optimizer, factor(step), strategy)
        if (step + 1) % every == 0 or step + 1 == steps:
            learner.eval()
            with torch.no_grad():
                curve.append((step + 1, validate(learner, strategy)))
    return curve


def begun(tokens: Path, seed: int, recipe_file: str) -> tuple[Any, Any, Any, float]:
    """The training section, the training split, the model with its first weights, and the seconds that these took
    beyond being drawn."""
    from forja.models.presets import resolve_config
    from forja.models.transformer import Transformer
    from forja.recipe_file import load_recipe
    from forja.tokens.loader import TokenSplit
    from forja.training.machine import keep_memory, physical_cores
    from forja.training.pretrain import start_from_bigrams
    from forja.training.strategy import OneProcess

    keep_memory()
    torch.set_num_threads(physical_cores())
    recipe, _ = load_recipe(recipe_file)
    split = TokenSplit.open(tokens, "train")
    model = Transformer(resolve_config(recipe.model, vocabulary=split.vocabulary, context=split.context))
    model.init_weights(seed)
    start = time.perf_counter()
    if recipe.training.first_weights == "bigrams":
        start_from_bigrams(model, split, OneProcess("bf16"), seed)
    return recipe.training, split, model, time.perf_counter() - start


def end(curves: list[Curve]) -> float:
    """The mean loss that runs of one length ended at."""
    return statistics.mean(curve[-1][1] for curve in curves)


# --- time --------------------------------------------------------------------------------------


def step_seconds(tokens: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds a step of each, one figure a turn; both are warm when the first turn begins."""
    wanted = {"nanogpt": "compiled bf16", "forja": options.recipe}
    contenders = [start(peer, setting, SHAPE, options, tokens) for peer, setting in wanted.items()]
    found = [contender for contender in contenders if contender is not None]
    try:
        for _ in range(options.rounds):
            for contender in found:
                run_round(contender, options.steps)
    finally:
        for contender in found:
            stop(contender)
    return {contender.peer: [SHAPE.tokens / rate for rate in contender.rates] for contender in found}


def first_seconds(tokens: Path, options: argparse.Namespace) -> float:
    """Seconds that Forja's first weights take beyond drawing them, the median of three processes' own."""
    taken = []
    for _ in range(3):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            taken.append(process.submit(time_first_weights, tokens, options.recipe).result())
    return statistics.median(taken)


def time_first_weights(tokens: Path, recipe_file: str) -> float:
    return begun(tokens, 0, recipe_file)[-1]


# --- tables ------------------------------------------------------------------------------------


def print_curves(peers: dict[float, Curve], ours: dict[int, list[Curve]]) -> None:
    print("| run | steps: validation loss, nats |\n| --- | --- |")
    for rate, curve in peers.items():
        print(f"| nanoGPT, rate {rate:g} | {told(curve[1::2])} |")
    for steps, curves in ours.items():
        mean = [(curves[0][i][0], statistics.mean(c[i][1] for c in curves)) for i in range(len(curves[0]))]
        print(f"| Forja, {steps} steps | {told(mean)} |")


def told(curve: Curve) -> str:
    return ", ".join(f"{step}: {loss:.3f}" for step, loss in curve)


def print_times(
    taken: dict[str, list[float]], first: float, ends: dict[float, float], best: float, ours: dict[int, list[Curve]]
) -> None:
    theirs, mine = (statistics.median(taken[peer]) for peer in ("nanogpt", "forja"))
    ratio = statistics.median(a / b for a, b in zip(taken["nanogpt"], taken["forja"], strict=True))
    print(
        f"\nA step, in turns: nanoGPT {theirs:.3f} s, Forja {mine:.3f} s; the one takes {ratio:.2f} times the other. "
        f"Forja's first weights: {first:.1f} s.\n"
    )
    print("| to the loss of | nats | nanoGPT | Forja | Forja's steps | its loss | x |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, rate in (("nanoGPT's published recipe", PUBLISHED), (f"nanoGPT's best rate, {best:g}", best)):
        enough = next((steps for steps, curves in ours.items() if end(curves) <= ends[rate]), None)
        if enough is None:
            print(f"| {name} | {ends[rate]:.4f} | {NANOGPT_STEPS * theirs:.0f} s | not reached | | | |")
            continue
        faster = NANOGPT_STEPS * ratio / (enough + first / mine)
        print(
            f"| {name} | {ends[rate]:.4f} | {NANOGPT_STEPS * theirs:.0f} s | {first + enough * mine:.0f} s | {enough} "
            f"| {end(ours[enough]):.4f} | {faster:.1f} |"
        )


if __name__ == "__main__":
    main()
