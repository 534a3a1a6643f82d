"""Forja's training step against nanoGPT's and Hugging Face Trainer's, on this CPU: tokens a second.

    python benchmarks/train_cpu.py --nanogpt ~/nanoGPT

Same shape, batch and data for all; every contender is a process of its own that waits while another
runs, so that all meet the machine in the same moods. A peer runs in every setting of {eager, compiled}
x {fp32, bf16 autocast}, and its best one counts. nanoGPT is on no registry: give a checkout of it.
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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY, BATCH = 6, 6, 384, 256, 8192, 16
TOKENS = BATCH * CONTEXT
HOPELESS = 0.8
"""After the first round a peer's setting slower than this share of the peer's best is not run again."""
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
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_tokens(folder)
        contenders, dropped = start_all(options, folder), list[Contender]()
        try:
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
                for contender in contenders:
                    run_round(contender, options.steps)
                out = [contender for contender in contenders if hopeless(contender, contenders)]
                dropped += out
                contenders = [contender for contender in contenders if contender not in out]
        finally:
            for contender in contenders:
                stop(contender)
    print_table(contenders + dropped, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--nanogpt-commit", help="its commit, where the folder is no git checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each contender a round")
    parser.add_argument("--threads", type=int, default=0, help="0: one a physical core")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled settings out (minutes less)")
    return parser.parse_args()


def write_tokens(folder: Path) -> None:
    """The same made-up tokens for all: speed does not depend on what they say."""
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, size=2_000_000).astype(np.uint16)
    for split in ("train", "valid"):
        tokens.tofile(folder / f"{split}-00000.bin")
    splits = {split: {"tokens": len(tokens)} for split in ("train", "valid")}
    meta = {"dtype": "uint16", "context": CONTEXT, "overlap": 0, "vocabulary": VOCABULARY, "splits": splits}
    (folder / "meta.json").write_text(json.dumps(meta))


def start_all(options: argparse.Namespace, folder: Path) -> list[Contender]:
    modes = ["eager"] if options.no_compile else ["eager", "compiled"]
    settings = [f"{mode} {precision}" for mode in modes for precision in ("fp32", "bf16")]
    wanted = [("peak", "fp32"), ("peak", "bf16"), ("forja", "gpt2"), ("forja", "modern")]
    if options.nanogpt:
        wanted += [("nanogpt", setting) for setting in settings]
    wanted += [("transformers", setting) for setting in settings]
    contenders = []
    for peer, setting in wanted:
        print(f"starting {peer} {setting}", file=sys.stderr, flush=True)
        contender = start(peer, setting, options, folder)
        if contender is not None:
            contenders.append(contender)
    return contenders


def start(peer: str, setting: str, options: argparse.Namespace, folder: Path) -> Contender | None:
    """Start one worker and wait until it is warm; None, said aloud, where it does not run here."""
    command = [sys.executable, str(WORKERS), peer, setting, str(folder), str(options.nanogpt or "")]
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


def hopeless(contender: Contender, contenders: list[Contender]) -> bool:
    if contender.peer in ("peak", "forja"):
        return False
    best = max(other.rate for other in contenders if other.peer == contender.peer)
    if contender.rate >= HOPELESS * best:
        return False
    print(f"  {contender.peer} {contender.setting}: {contender.rate:,.0f} tokens/s, dropped", file=sys.stderr)
    stop(contender)
    return True


def stop(contender: Contender) -> None:
    if contender.process.stdin is not None:
        contender.process.stdin.close()
    try:
        contender.process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        contender.process.kill()


def print_table(contenders: list[Contender], options: argparse.Namespace) -> None:
    peaks = {c.setting: c.rate for c in contenders if c.peer == "peak"}
    runners = [c for c in contenders if c.peer != "peak"]
    peers = [c for c in runners if c.peer != "forja"]
    best = max(peers, key=lambda contender: contender.rate, default=None)
    print(f"\n{processor()}, {os.cpu_count()} logical cores, {platform.system()}")
    print(", ".join(f"{name} products of 2,048: {rate:,.0f} GFLOP/s" for name, rate in peaks.items()))
    print(f"nanoGPT: {nanogpt_commit(options)}\n")
    print("| contender | setting | tokens/s | GFLOP/s | of fp32 peak | of bf16 peak | x best peer |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for c in sorted(runners, key=lambda contender: (contender.peer != "forja", -contender.rate)):
        gflops = c.rate * flops_per_token() / 1e9
        ratio = f"{paired_ratio(c, best):.2f}" if best else "-"
        shares = " | ".join(f"{gflops / peaks[name]:.0%}" for name in ("fp32", "bf16"))
        print(f"| {c.peer} | {c.setting} {c.notes} | {c.rate:,.0f} | {gflops:,.0f} | {shares} | {ratio} |")
    if not options.nanogpt:
        print("| nanogpt | not run (give --nanogpt) | | | | | |")


def paired_ratio(one: Contender, other: Contender) -> float:
    """The median of the rates' ratio over the rounds that both ran, each round's taken within a minute or so."""
    return statistics.median(a / b for a, b in zip(one.rates, other.rates, strict=False))


def flops_per_token() -> float:
    """6 N + 12 layers x width x context, N without position embeddings: the gpt2 shape's, for every row."""
    block = 12 * WIDTH * WIDTH + 13 * WIDTH
    parameters = VOCABULARY * WIDTH + LAYERS * block + 2 * WIDTH
    return 6.0 * parameters + 12.0 * LAYERS * WIDTH * CONTEXT


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
