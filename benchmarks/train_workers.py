"""One contender of train_cpu.py, in a process of its own: it warms up, then trains as many steps as a
line on standard input says, answers with tokens a second, and waits for the next line."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train_cpu import Shape

WARM_UP = 3


class Pacer:
    """Called at the end of every step; stops the clock, answers and waits when a round is over."""

    def __init__(self, shape: Shape, note: str = "") -> None:
        self.tokens, self.note, self.left, self.steps, self.start = shape.tokens, note, WARM_UP, 0, 0.0

    def step_done(self) -> bool:
        """Whether to go on."""
        self.left -= 1
        if self.left > 0:
            return True
        if self.steps == 0:
            answer: dict[str, Any] = {"ready": self.note}
        else:
            answer = {"rate": self.steps * self.tokens / (time.perf_counter() - self.start)}
        print("@" + json.dumps(answer), flush=True)
        line = sys.stdin.readline()
        if not line:
            return False
        self.left = self.steps = int(line)
        self.start = time.perf_counter()
        return True


def peak(setting: str) -> None:
    """GFLOP/s of square products, answered as `rate`."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[setting]
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    torch.mm(a, b)
    print("@" + json.dumps({"ready": ""}), flush=True)
    while sys.stdin.readline():
        best = float("inf")
        for _ in range(12):
            start = time.perf_counter()
            torch.mm(a, b)
            best = min(best, time.perf_counter() - start)
        print("@" + json.dumps({"rate": 2 * 2048**3 / best / 1e9}), flush=True)


def forja(setting: str, shape: Shape, folder: Path) -> None:
    """The pretraining stage as users run it, every `auto` resolved here; setting: a preset, or a recipe's file."""
    from forja.progress import set_quiet
    from forja.recipe import ModelSection, TrainingSection
    from forja.recipe_file import load_recipe
    from forja.tokens import loader
    from forja.training import pretrain

    set_quiet(True)
    pacer = Pacer(shape)

    class Paced(loader.Batches):
        training = False

        def global_batch(self, step: int, rank: int = 0, world: int = 1) -> loader.Batch:
            # The loop asks for a batch where the step before is done; measuring, before it, is not paced.
            if sys._getframe(1).f_code.co_name == "_step" and step > 0 and not pacer.step_done():
                raise KeyboardInterrupt
            return super().global_batch(step, rank, world)

    pretrain.Batches = Paced  # type: ignore[misc]
    keys: dict[str, Any] = {"batch": shape.batch, "steps": 5_000, "valid_every": 5_000, "checkpoint_every": 5_000}
    keys["compile"] = "auto" if os.environ["FORJA_BENCH_COMPILE"] == "1" else False
    if setting in ("gpt2", "modern"):
        model = ModelSection(preset=setting, layers=shape.layers, heads=shape.heads, width=shape.width)  # type: ignore[arg-type]
        section = TrainingSection(**keys)
    else:
        recipe, _ = load_recipe(setting)
        if recipe.training.compile != "auto":
            del keys["compile"]
        model, section = recipe.model, recipe.training.model_copy(update=keys)
    with tempfile.TemporaryDirectory() as workspace:
        try:
            pretrain.pretrain(section, model, folder, Path(workspace), seed=1)
        except KeyboardInterrupt:
            resolved = json.loads((Path(workspace) / "training" / "resolved.json").read_text())
            print(resolved, file=sys.stderr)


def random_windows(shape: Shape, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """nanoGPT's `get_batch`."""
    data = np.memmap(folder / "train-00000.bin", dtype=np.uint16, mode="r")
    starts = torch.randint(len(data) - shape.context, (shape.batch,))
    x, y = (
        torch.stack([torch.from_numpy(data[i + shift : i + shift + shape.context].astype(np.int64)) for i in starts])
        for shift in (0, 1)
    )
    return x, y


def nanogpt(setting: str, shape: Shape, folder: Path, checkout: Path) -> None:
    """nanoGPT's model and optimizer under the steps of its train.py, with its defaults."""
    sys.path.insert(0, str(checkout))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    mode, precision = setting.split()
    config = GPTConfig(
        block_size=shape.context, vocab_size=shape.vocabulary, n_layer=shape.layers, n_head=shape.heads,
        n_embd=shape.width, dropout=0.0, bias=False,
    )  # fmt: skip
    model = GPT(config)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    called = torch.compile(model) if mode == "compiled" else model
    context = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext()

    pacer = Pacer(shape)
    x, y = random_windows(shape, folder)
    while True:
        with context:
            _, loss = called(x, y)
        x, y = random_windows(shape, folder)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(called.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if not pacer.step_done():
            return


def litgpt(setting: str, shape: Shape, folder: Path) -> None:
    """LitGPT's GPT with Pythia's parts, under the steps of its pretrain.py: Fabric, its loss and its AdamW.

    bf16 is autocast, as elsewhere; `bf16-true` keeps the weights in bf16 too, its default where a GPU has bf16.
    """
    from lightning import Fabric  # type: ignore[import-not-found]
    from litgpt.config import Config  # type: ignore[import-not-found]
    from litgpt.model import GPT  # type: ignore[import-not-found]
    from litgpt.utils import chunked_cross_entropy, instantiate_torch_optimizer  # type: ignore[import-not-found]

    mode, precision = setting.split()
    names = {"fp32": "32-true", "bf16": "bf16-mixed", "bf16-true": "bf16-true"}
    fabric = Fabric(accelerator="cpu", devices=1, precision=names[precision])
    config = Config(
        name="bench", block_size=shape.context, vocab_size=shape.vocabulary, padded_vocab_size=shape.vocabulary,
        n_layer=shape.layers, n_head=shape.heads, n_embd=shape.width,
    )  # fmt: skip
    with fabric.init_module():
        model = GPT(config)
    model.apply(model._init_weights)
    called = fabric.setup(torch.compile(model) if mode == "compiled" else model)
    settings = {"lr": 4e-4, "weight_decay": 0.1, "betas": (0.9, 0.95), "fused": False}
    optimizer = fabric.setup_optimizers(instantiate_torch_optimizer("AdamW", called.parameters(), **settings))
    pacer = Pacer(shape)
    while True:
        x, y = random_windows(shape, folder)
        loss = chunked_cross_entropy(called(x), y)
        fabric.backward(loss)
        fabric.clip_gradients(called, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        if not pacer.step_done():
            return


def transformers(setting: str, shape: Shape, folder: Path) -> None:
    """Hugging Face Trainer on GPT2LMHeadModel, as its documentation shows."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    mode, precision = setting.split()
    config = GPT2Config(
        vocab_size=shape.vocabulary, n_positions=shape.context, n_embd=shape.width, n_layer=shape.layers,
        n_head=shape.heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    tokens = np.fromfile(folder / "train-00000.bin", dtype=np.uint16).astype(np.int64)
    rows = torch.from_numpy(tokens[: len(tokens) // shape.context * shape.context]).view(-1, shape.context)
    data = [{"input_ids": row, "labels": row} for row in rows]
    pacer = Pacer(shape)

    class Paced(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = not pacer.step_done()

    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output, use_cpu=True, per_device_train_batch_size=shape.batch, max_steps=100_000, report_to=[],
            bf16=precision == "bf16", torch_compile=mode == "compiled", save_strategy="no", disable_tqdm=True,
            logging_steps=1_000_000, learning_rate=1e-3, weight_decay=0.1, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(GPT2LMHeadModel(config), arguments, train_dataset=data, callbacks=[Paced()]).train()


def main() -> None:
    peer, setting, shape, folder, checkout = sys.argv[1], sys.argv[2], Shape.parse(sys.argv[3]), *sys.argv[4:6]
    torch.set_num_threads(int(os.environ["FORJA_BENCH_THREADS"]) or torch.get_num_threads())
    if peer == "peak":
        peak(setting)
    elif peer == "nanogpt":
        nanogpt(setting, shape, Path(folder), Path(checkout))
    else:
        {"forja": forja, "transformers": transformers, "litgpt": litgpt}[peer](setting, shape, Path(folder))


if __name__ == "__main__":
    main()
