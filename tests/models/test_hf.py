"""Forja's own model type with Hugging Face's tools: Trainer, PEFT, generate, and folders there and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from forja.models.hf import ForjaConfig, ForjaForCausalLM
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.recipe import ModelSection
from forja.training.logbook import read_log
from forja.training.loop import LOG, Pace, train
from forja.training.objectives import next_token
from forja.training.optimizers import OptimizerSettings, build_optimizer
from forja.training.rules import MeanGradient
from forja.training.schedules import schedule
from forja.training.strategy import OneProcess

VOCABULARY, CONTEXT, BATCH, STEPS = 300, 16, 4, 10
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"preset": "gpt2"},
    "modern": {"preset": "modern"},
    "untied": {"preset": "modern", "tie_embeddings": False, "activation": "relu2"},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fresh(shape: str, seed: int = 3) -> ForjaForCausalLM:
    section = ModelSection.model_validate({"layers": 2, "heads": 2, "width": 32, **SHAPES[shape]})
    described = asdict(resolve_config(section, vocabulary=VOCABULARY, context=CONTEXT))
    model = ForjaForCausalLM(ForjaConfig(transformer=described))
    model.transformer.init_weights(seed)
    return model.eval()


def random(shape: str) -> ForjaForCausalLM:
    """All weights random, so that every one of them shows in the logits."""
    model, source = fresh(shape), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.15, generator=source))
    return model


@pytest.fixture
def tokens() -> Tensor:
    """(STEPS * BATCH, CONTEXT), in which something can be learnt."""
    source = torch.Generator().manual_seed(1)
    starts = torch.randint(0, VOCABULARY, (STEPS * BATCH, 1), generator=source)
    return (starts + 7 * torch.arange(CONTEXT)) % VOCABULARY


# --- training ----------------------------------------------------------------------------------


class Rows(NamedTuple):
    inputs: Tensor
    targets: Tensor
    weights: Tensor


class InOrder:
    """Batch after batch of the same rows; the last token of each predicts nothing."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def global_batch(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        rows = self.tokens[step * BATCH : (step + 1) * BATCH]
        weights = torch.ones(rows.shape)
        weights[:, -1] = 0
        return Rows(rows, rows.roll(-1, dims=1), weights)


def forja_losses(model: Transformer, tokens: Tensor, folder: Path, clip: float) -> list[float]:
    settings = OptimizerSettings(rate=2e-3, weight_decay=0.1, betas=(0.9, 0.95), epsilon=1e-8)
    train(
        model,
        InOrder(tokens),
        next_token,
        MeanGradient(BATCH, clip),
        build_optimizer(model, settings),
        schedule("constant", STEPS, warmup=0),
        OneProcess("fp32", "cpu"),
        folder,
        pace=Pace(steps=STEPS),
    )
    return [line["loss"] for line in read_log(folder / LOG)]


def trainer_for(model: Any, tokens: Tensor, folder: Path, clip: float = 1.0, parts: int = 1) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        max_steps=STEPS,
        per_device_train_batch_size=BATCH // parts,
        gradient_accumulation_steps=parts,
        train_sampling_strategy="sequential",
        learning_rate=2e-3,
        weight_decay=0.1,
        adam_beta1=0.9,
        adam_beta2=0.95,
        adam_epsilon=1e-8,
        max_grad_norm=clip,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return Trainer(model, arguments, train_dataset=[{"input_ids": row, "labels": row} for row in tokens])


def hugging_face_losses(model: ForjaForCausalLM, tokens: Tensor, folder: Path, clip: float, parts: int) -> list[float]:
    trainer = trainer_for(model, tokens, folder, clip, parts)
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.parametrize(("shape", "clip", "parts"), [("gpt2", 0.0, 1), ("modern", 1.0, 1), ("untied", 1.0, 2)])
def test_trainer_computes_the_losses_of_forjas_own_loop(
    shape: str, clip: float, parts: int, tokens: Tensor, tmp_path: Path
) -> None:
    """Same weights, rows, order and settings; `parts`: micro-batches that Trainer makes of a batch."""
    ours = forja_losses(fresh(shape).transformer, tokens, tmp_path / "ours", clip)
    theirs = hugging_face_losses(fresh(shape), tokens, tmp_path / "theirs", clip, parts)
    assert len(ours) == STEPS
    assert ours[-1] < ours[0]
    assert theirs == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize("shape", ["gpt2", "untied"])
def test_lora_trains_the_adapter_alone_and_loads_again(shape: str, tokens: Tensor, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["qkv", "out"])
    base = random(shape)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    adapted = peft.get_peft_model(base, settings)
    trainer_for(adapted, tokens, tmp_path / "trainer").train()

    layers = {name.removesuffix(".weight") for name in before if ".qkv." in name or ".out." in name}
    after = adapted.state_dict()
    adapters = [name for name in after if "lora_" in name]
    assert len(adapters) == 2 * 2 * 2  # A and B of two matrices in two blocks
    assert all(bool((after[name] != 0).any()) for name in adapters)  # B starts as zero
    for name, value in before.items():
        layer, _, kind = name.rpartition(".")
        inside = f"{layer}.base_layer.{kind}" if layer in {one.removesuffix(".bias") for one in layers} else name
        assert torch.equal(after[f"base_model.model.{inside}"], value), name

    adapted.save_pretrained(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").glob("*.safetensors")} == {"adapter_model.safetensors"}
    again = peft.PeftModel.from_pretrained(random(shape), tmp_path / "adapter").eval()
    logits = adapted.eval()(tokens).logits
    assert torch.equal(again(tokens).logits, logits)
    assert not torch.allclose(random(shape)(tokens).logits, logits, atol=1e-3)
    merged = again.merge_and_unload()
    assert torch.allclose(merged(tokens).logits, logits, atol=1e-4)


# --- generating --------------------------------------------------------------------------------


def by_argmax(model: ForjaForCausalLM, prompt: Tensor, count: int) -> Tensor:
    made = prompt
    for _ in range(count):
        logits = model.transformer.logits(model.transformer(made[:, -CONTEXT:])[:, -1])
        made = torch.cat((made, logits.argmax(-1, keepdim=True)), dim=1)
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_generation_is_repeated_argmax_past_the_context_too(shape: str, tokens: Tensor) -> None:
    model, prompts = random(shape), tokens[:2, :5]
    count = CONTEXT + 4
    made = model.generate(prompts, max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(made, by_argmax(model, prompts, count))


def test_sampling_is_repeatable_and_narrows_to_argmax(tokens: Tensor) -> None:
    model, prompts = random("modern"), tokens[:2, :5]
    common = {"max_new_tokens": 8, "do_sample": True, "eos_token_id": None, "pad_token_id": 0}

    def sampled(seed: int, **settings: Any) -> Tensor:
        torch.manual_seed(seed)
        made: Tensor = model.generate(prompts, **common, **settings)
        return made

    assert torch.equal(sampled(1), sampled(1))
    assert not torch.equal(sampled(1), sampled(2))
    assert torch.equal(sampled(1, top_k=1), by_argmax(model, prompts, 8))


def test_a_row_that_ended_is_padded_and_the_others_go_on(tokens: Tensor) -> None:
    model = random("gpt2")
    each = by_argmax(model, tokens[:8, :5], 8)
    pair = next([one, other] for one in range(8) for other in range(8) if each[one, 6] not in each[other, 5:])
    whole, end, pad = each[pair], int(each[pair[0], 6]), VOCABULARY - 1
    made = model.generate(whole[:, :5], max_new_tokens=8, do_sample=False, eos_token_id=end, pad_token_id=pad)
    ended = 5 + whole[0, 5:].tolist().index(end)
    assert made[0].tolist() == [*whole[0, : ended + 1].tolist(), *[pad] * (12 - ended)]
    assert torch.equal(made[1], whole[1])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_prompts_are_refused(side: str, tokens: Tensor) -> None:
    model, prompts = random("gpt2"), tokens[:2, :5].clone()
    mask = torch.ones_like(prompts)
    at = 0 if side == "left" else -1
    prompts[1, at], mask[1, at] = 0, 0
    with pytest.raises(ValueError, match="prompts of one length"):
        model.generate(prompts, attention_mask=mask, max_new_tokens=2, eos_token_id=None, pad_token_id=0)


def test_padding_on_the_right_changes_no_logits_and_no_loss(tokens: Tensor) -> None:
    model, short = random("modern"), tokens[:1, :6]
    padded = torch.nn.functional.pad(short, (0, 4), value=1)
    mask = torch.ones_like(padded)
    mask[:, 6:] = 0
    labels = padded.masked_fill(mask == 0, -100)
    out, plain = model(padded, attention_mask=mask, labels=labels), model(short, labels=short)
    assert torch.allclose(out.logits[:, :6], plain.logits, atol=1e-5)
    assert out.loss.item() == pytest.approx(plain.loss.item(), rel=1e-5)


# --- folders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_model_comes_back_with_the_same_logits_tied_where_it_was_tied(
    shape: str, tokens: Tensor, tmp_path: Path
) -> None:
    model = random(shape)
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "forja"
    back = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(back(tokens).logits, model(tokens).logits)
    tied = shape != "untied"
    assert back.config.tie_word_embeddings == tied
    assert (back.get_output_embeddings() is None) == tied
    assert (back.transformer.unembedding is back.get_input_embeddings().weight) == tied
    assert back.num_parameters() == model.transformer.num_parameters()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_larger_vocabulary_keeps_what_was_learnt_and_saves(shape: str, tokens: Tensor, tmp_path: Path) -> None:
    model = random(shape)
    before = model(tokens).logits
    model.resize_token_embeddings(VOCABULARY + 30)
    after = model(tokens).logits
    assert after.shape[-1] == model.config.vocab_size == VOCABULARY + 30
    assert torch.allclose(after[..., : before.shape[-1]][..., :VOCABULARY], before[..., :VOCABULARY], atol=1e-5)
    model.save_pretrained(tmp_path)
    back = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(back(tokens).logits, after)
