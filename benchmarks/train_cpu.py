"""Forja's training step against nanoGPT's, LitGPT's and Hugging Face Trainer's, on this CPU: tokens a second.

    python benchmarks/train_cpu.py --nanogpt ~/nanoGPT --litgpt ~/litgpt/bin/python --shape 124m
    python benchmarks/train_cpu.py --growth

Same shape, batch and data for all; every contender is a process of its own. First each runs alone, a peer in
every setting of {eager, compiled} x {fp32, bf16}; then Forja and each peer's best settings take turns, so that
all meet the machine in the same moods. nanoGPT is on no registry: give a checkout of it; LitGPT pins its own
libraries: give the interpreter of an environment that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A model's shape and how many sequences a step trains on."""

    layers: int
    heads: int
    width: int
    context: int
    vocabulary: int
    batch: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        return cls(*map(int, text.split(",")))

    def __str__(self) -> str:
        return ",".join(map(str, astuple(self)))

    @property
    def tokens(self) -> int:
        return self.batch * self.context

    def flops_per_token(self) -> float:
        """6 N + 12 layers x width x context, N without position embeddings: the gpt2 preset's, for every row."""
        block = 12 * self.width * self.width + 13 * self.width
        parameters = self.vocabulary * self.width + self.layers * block + 2 * self.width
        return 6.0 * parameters + 12.0 * self.layers * self.width * self.context


SHAPES = {"tiny": Shape(6, 6, 384, 256, 8192, 16), "124m": Shape(12, 12, 768, 1024, 50304, 2)}
NEAR, HALF = 0.9, 0.5
"""A peer's settings within NEAR of its best run in turns with the rest; a precision that eager runs at less than
HALF the speed of the other is not compiled."""
WORKERS = Path(__file__).with_name("train_workers.py")


@dataclass
class Contender:
    """One peer in one setting; `rates` in tokens/s, one a round (for `peak`: GFLOP/s)."""

    peer: str
    setting: str
    process: subprocess.Popen[str]
    rates: list[float] = field(default_factory=list)
    notes: str = ""

    @property
    def rate(self) -> float:
        return statistics.median(self.rates) if self.rates else 0.0


def main() -> None:
    options = arguments()
    shape = replace(SHAPES[options.shape], batch=options.batch or SHAPES[options.shape].batch)
    with tempfile.TemporaryDirectory() as scratch:
        if options.growth:
            print_growth(grown(shape, options, Path(scratch)))
            return
        write_tokens(Path(scratch), shape)
        qualified = qualify(shape, options, Path(scratch))
        print_table(qualified, finals(qualified, shape, options, Path(scratch)), shape, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="tiny, or GPT-2 small")
    parser.add_argument("--batch", type=int, help="sequences a step, in place of the shape's")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--nanogpt-commit", help="its commit, where the folder is no git checkout")
    parser.add_argument("--litgpt", help="the Python of an environment with litgpt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each contender a round")
    parser.add_argument("--threads", type=int, default=0, help="0: one a physical core")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled settings out (minutes less)")
    parser.add_argument("--growth", action="store_true", help="Forja alone, at twice the batch, depth and context")
    return parser.parse_args()


def write_tokens(folder: Path, shape: Shape) -> None:
    """The same made-up tokens for all: speed does not depend on what they say."""
    folder.mkdir(exist_ok=True)
    tokens = np.random.default_rng(0).integers(0, shape.vocabulary, size=2_000_000).astype(np.uint16)
    for split in ("train", "valid"):
        tokens.tofile(folder / f"{split}-00000.bin")
    splits = {split: {"tokens": len(tokens)} for split in ("train", "valid")}
    meta = {"dtype": "uint16", "context": shape.context, "overlap": 0, "vocabulary": shape.vocabulary, "splits": splits}
    (folder / "meta.json").write_text(json.dumps(meta))


def qualify(shape: Shape, options: argparse.Namespace, folder: Path) -> list[Contender]:
    """Every setting of every peer, one round alone: they would not all fit in memory."""
    peers = ["transformers"]
    if options.nanogpt:
        peers.insert(0, "nanogpt")
    if options.litgpt:
        peers.append("litgpt")
    done = []
    for peer in peers:
        precisions = ("fp32", "bf16", "bf16-true") if peer == "litgpt" else ("fp32", "bf16")
        eager = [alone(peer, f"eager {precision}", shape, options, folder) for precision in precisions]
        found = [contender for contender in eager if contender is not None]
        best = max((contender.rate for contender in found), default=0.0)
        worth = [] if options.no_compile else [c.setting.split()[1] for c in found if c.rate >= HALF * best]
        compiled = [alone(peer, f"compiled {precision}", shape, options, folder) for precision in worth]
        done += found + [contender for contender in compiled if contender is not None]
    return done


def alone(peer: str, setting: str, shape: Shape, options: argparse.Namespace, folder: Path) -> Contender | None:
    contender = start(peer, setting, shape, options, folder)
    if contender is not None:
        run_round(contender, options.steps)
        stop(contender)
        print(f"  {contender.rate:,.0f} tokens/s", file=sys.stderr, flush=True)
    return contender


def finals(qualified: list[Contender], shape: Shape, options: argparse.Namespace, folder: Path) -> list[Contender]:
    """Forja, the machine's peak, and each peer's best settings, in turns."""
    best = {c.peer: max(other.rate for other in qualified if other.peer == c.peer) for c in qualified}
    wanted = [("peak", "fp32"), ("peak", "bf16"), ("forja", "gpt2"), ("forja", "modern")]
    wanted += [(c.peer, c.setting) for c in qualified if c.rate >= NEAR * best[c.peer]]
    contenders = []
    try:
        for peer, setting in wanted:
            contender = start(peer, setting, shape, options, folder)
            contenders += [] if contender is None else [contender]
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for contender in contenders:
                run_round(contender, options.steps)
    finally:
        for contender in contenders:
            stop(contender)
    return contenders


def start(peer: str, setting: str, shape: Shape, options: argparse.Namespace, folder: Path) -> Contender | None:
    """Start one worker and wait until it is warm; None, said aloud, where it does not run here."""
    print(f"starting {peer} {setting}", file=sys.stderr, flush=True)
    python = options.litgpt if peer == "litgpt" else sys.executable
    command = [python, str(WORKERS), peer, setting, str(shape), str(folder), str(options.nanogpt or "")]
    choices = {"FORJA_BENCH_THREADS": str(options.threads), "FORJA_BENCH_COMPILE": str(int(not options.no_compile))}
    environment = {**os.environ, **choices, "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    contender = Contender(peer, setting, process)
    answer = read_answer(contender)
    if answer is None:
        print(f"{peer} {setting} does not run here", file=sys.stderr)
        return None
    contender.notes = str(answer["ready"])
    return contender


def read_answer(contender: Contender) -> dict[str, object] | None:
    assert contender.process.stdout is not None
    for line in contender.process.stdout:
        if line.startswith("@"):
            return dict(json.loads(line[1:]))
    return None


def run_round(contender: Contender, steps: int) -> None:
    assert contender.process.stdin is not None
    contender.process.stdin.write(f"{steps}\n")
    contender.process.stdin.flush()
    answer = read_answer(contender)
    if answer is None:
        raise SystemExit(f"{contender.peer} {contender.setting} died")
    contender.rates.append(float(str(answer["rate"])))


def stop(contender: Contender) -> None:
    if contender.process.stdin is not None:
        contender.process.stdin.close()
    try:
        contender.process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        contender.process.kill()


def print_table(
    qualified: list[Contender], finalists: list[Contender], shape: Shape, options: argparse.Namespace
) -> None:
    peaks = {contender.setting: contender.rate for contender in finalists if contender.peer == "peak"}
    runners = [contender for contender in finalists if contender.peer != "peak"]
    best = max((c for c in runners if c.peer != "forja"), key=lambda contender: contender.rate, default=None)
    print_machine(options)
    print(f"layers, heads, width, context, vocabulary, batch: {shape}")
    print("products of 2,048: " + ", ".join(f"{name} {rate:,.0f} GFLOP/s" for name, rate in peaks.items()) + "\n")
    print("| contender | setting | tokens/s | GFLOP/s | of fp32 peak | of bf16 peak | x best peer |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    ran = {(c.peer, c.setting) for c in runners}
    others = [c for c in qualified if (c.peer, c.setting) not in ran]
    for c in sorted(runners + others, key=lambda contender: (contender.peer != "forja", -contender.rate)):
        gflops = c.rate * shape.flops_per_token() / 1e9
        ratio = "alone" if c in others else f"{paired_ratio(c, best):.2f}" if best else "-"
        shares = " | ".join(f"{gflops / peaks[name]:.0%}" for name in ("fp32", "bf16"))
        print(f"| {c.peer} | {c.setting} {c.notes} | {c.rate:,.0f} | {gflops:,.0f} | {shares} | {ratio} |")


def print_machine(options: argparse.Namespace) -> None:
    print(f"{processor()}, {options.threads or os.cpu_count()} threads; nanoGPT: {nanogpt_commit(options)}")


def paired_ratio(one: Contender, other: Contender) -> float:
    """The median of the rates' ratio over the rounds that both ran, each round's taken within a minute or so."""
    return statistics.median(a / b for a, b in zip(one.rates, other.rates, strict=False))


# --- growth --------------------------------------------------------------------------------------


def grown(shape: Shape, options: argparse.Namespace, folder: Path) -> dict[str, tuple[Shape, Contender]]:
    """Forja's gpt2 preset at `shape` and at twice its batch, depth and context, in turns."""
    shapes = {
        "as it is": shape,
        "2x batch": replace(shape, batch=2 * shape.batch),
        "2x layers": replace(shape, layers=2 * shape.layers),
        "2x context": replace(shape, context=2 * shape.context),
    }
    running: dict[str, tuple[Shape, Contender]] = {}
    try:
        for name, one in shapes.items():
            write_tokens(folder / name, one)
            contender = start("forja", "gpt2", one, options, folder / name)
            if contender is not None:
                running[name] = (one, contender)
        for _ in range(options.rounds):
            for _, contender in running.values():
                run_round(contender, options.steps)
    finally:
        for _, contender in running.values():
            stop(contender)
    return running


def print_growth(running: dict[str, tuple[Shape, Contender]]) -> None:
    shape, base = running["as it is"]
    print(f"{processor()}; gpt2 preset; layers, heads, width, context, vocabulary, batch: {shape}\n")
    print("| | tokens/s | FLOPs a token, x | time a token, x | time / FLOPs |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (one, contender) in running.items():
        work, spent = one.flops_per_token() / shape.flops_per_token(), paired_ratio(base, contender)
        print(f"| {name} | {contender.rate:,.0f} | {work:.2f} | {spent:.2f} | {spent / work:.2f} |")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def nanogpt_commit(options: argparse.Namespace) -> str:
    if not options.nanogpt:
        return "not run"
    if options.nanogpt_commit:
        return str(options.nanogpt_commit)
    asked = subprocess.run(["git", "-C", options.nanogpt, "rev-parse", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip() or "unknown commit"


if __name__ == "__main__":
    main()
