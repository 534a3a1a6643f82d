"""Which mathematics the `modern` preset should have: Qwen3's against NanoChat's, by time to the same loss.

    python benchmarks/mathematics.py runs/demo/tokens --seconds 150

Both have the demo's shape and optimizer and about the same parameters. NanoChat's has ReLU² in a feed-forward
of 4 x width without a gate, norms without weights, a norm behind the embedding, and logits capped at 15. Their
steps are timed in turns, and each then makes as many steps as fit in the seconds; NanoChat's also with a sixth
of the time less: if that reaches Qwen3's loss, it is 20% ahead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.progress import set_quiet
from forja.recipe import Recipe
from forja.recipe_file import load_recipe
from forja.tokens.loader import Batches, TokenSplit
from forja.training.attention import choose_attention
from forja.training.learner import Learner
from forja.training.loop import Pace, train, update
from forja.training.machine import keep_memory, physical_cores
from forja.training.objectives import next_token
from forja.training.optimizers import build_optimizer
from forja.training.pretrain import validation
from forja.training.resolve import optimizer_settings
from forja.training.rules import MeanGradient
from forja.training.schedules import schedule
from forja.training.strategy import OneProcess

KINDS = ("qwen3", "nanochat")
VALID_SEQUENCES = 128


class NormedEmbedding(nn.Embedding):
    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.rms_norm(super().forward(tokens), (self.embedding_dim,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="the tokens folder of a run")
    parser.add_argument("--seconds", type=float, default=150.0, help="training time of each")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    set_quiet(True)
    keep_memory()
    torch.set_num_threads(physical_cores())
    recipe, _ = load_recipe("demo")
    pace = step_seconds(recipe, options)
    print("| mathematics | parameters | seconds a step | steps | validation loss, nats |")
    print("| --- | ---: | ---: | ---: | ---: |")
    reached: dict[str, float] = {}
    for kind, seconds in (("qwen3", 1.0), ("nanochat", 1.0), ("nanochat", 1 / 1.2)):
        steps = int(options.seconds * seconds / pace[kind])
        losses = [final_loss(kind, recipe, options, steps, seed) for seed in range(options.seeds)]
        name = kind if seconds == 1 else f"{kind}, a sixth less time"
        reached[name] = statistics.mean(losses)
        size = build(kind, recipe, options).num_parameters()
        print(f"| {name} | {size / 1e6:.2f}M | {pace[kind]:.3f} | {steps:,} | {reached[name]:.4f} |", flush=True)
    ahead = reached["nanochat, a sixth less time"] <= reached["qwen3"]
    print(f"\nNanoChat's mathematics is {'' if ahead else 'not '}20% ahead in time to loss.")


def build(kind: str, recipe: Recipe, options: argparse.Namespace, seed: int = 0) -> Transformer:
    split = TokenSplit.open(options.tokens, "train")
    config = resolve_config(recipe.model, vocabulary=split.vocabulary, context=split.context)
    if kind == "nanochat":
        config = replace(config, activation="relu2", ffn_width=4 * config.width, logit_softcap=15.0)
    model = Transformer(config)
    if kind == "nanochat":
        model.embedding = NormedEmbedding(config.vocab_size, config.width)
    model.init_weights(seed)
    if kind == "nanochat":
        for parameter in model.parameters():
            parameter.requires_grad = parameter.ndim > 1
    kernel, _ = choose_attention(config, recipe.training.batch, options.precision, "cpu")
    model.use_attention(kernel)
    return model


def step_seconds(recipe: Recipe, options: argparse.Namespace) -> dict[str, float]:
    """The median step of each, timed in turns."""
    batches = Batches(TokenSplit.open(options.tokens, "train"), batch_size=recipe.training.batch, seed=0)
    strategy, rule = OneProcess(options.precision), MeanGradient(recipe.training.batch)
    models = {kind: build(kind, recipe, options) for kind in KINDS}
    optimizers = {kind: build_optimizer(models[kind], optimizer_settings(recipe.training.optimizer)) for kind in KINDS}
    learners = {kind: Learner(models[kind], next_token) for kind in KINDS}
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for step in range(30):
        for kind in KINDS:
            start = time.perf_counter()
            update(learners[kind], batches.global_batch(step), rule, optimizers[kind], 0.1, strategy)
            taken[kind].append(time.perf_counter() - start)
    return {kind: statistics.median(seconds[3:]) for kind, seconds in taken.items()}


def final_loss(kind: str, recipe: Recipe, options: argparse.Namespace, steps: int, seed: int) -> float:
    """Validation loss, in nats a token, after a whole schedule of `steps`."""
    section = recipe.training
    model = build(kind, recipe, options, seed)
    shape = section.schedule
    with tempfile.TemporaryDirectory() as workspace:
        (Path(workspace) / "training").mkdir()
        done = train(
            model,
            Batches(TokenSplit.open(options.tokens, "train"), batch_size=section.batch, seed=seed),
            next_token,
            MeanGradient(section.batch, section.optimizer.clip),
            build_optimizer(model, optimizer_settings(section.optimizer)),
            schedule(shape.kind, steps, warmup=shape.warmup, decay=shape.decay, floor=shape.floor),
            OneProcess(options.precision),
            Path(workspace),
            pace=Pace(steps=steps, valid_every=steps, checkpoint_every=steps),
            validate=validation(options.tokens, VALID_SEQUENCES, section.batch),
            seed=seed,
        )
    return done.best_loss


if __name__ == "__main__":
    main()
