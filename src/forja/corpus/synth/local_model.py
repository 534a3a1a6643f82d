"""A causal model on this machine as a writer: any AutoModelForCausalLM, from safetensors, running no foreign code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forja.corpus.synth.writers import Writer
from forja.errors import ForjaError

NEW_TOKENS = 700
BATCH = 8
TOP_P = 0.95
WHERE = "corpus.sources synth.model"
HUB_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


def model_writer(model: str, *, base_folder: Path, new_tokens: int = NEW_TOKENS) -> Writer:
    """A folder (nothing is fetched), or a name on the hub. The model is loaded when the first order comes.

    Raises ForjaError, at that time, for what cannot be loaded.
    """
    folder = base_folder / Path(model).expanduser()
    local = folder.is_dir()
    if not local and not HUB_NAME.fullmatch(model):
        raise ForjaError(f"there is no folder {model}.", where=WHERE, fix="Give a folder or a name on the hub.")
    place, name = (str(folder), folder.name) if local else (model, model)
    loaded: list[tuple[Any, Any]] = []

    def write(orders: Sequence[tuple[str, int]]) -> list[str]:
        if not loaded:
            loaded.append(_load(place, local))
        tokenizer, network = loaded[0]
        written: list[str] = []
        for start in range(0, len(orders), BATCH):
            written += _generate(tokenizer, network, orders[start : start + BATCH], new_tokens)
        return written

    return Writer(f"model:{name}", write)


def _load(place: str, local: bool) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safe = {"local_files_only": local, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left", **safe)
        model = AutoModelForCausalLM.from_pretrained(place, use_safetensors=True, dtype="auto", **safe)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ForjaError(
            f"the model {place} cannot be loaded ({type(error).__name__}).",
            where=WHERE,
            fix="It must be a causal model in safetensors, with its tokenizer, that needs no code of its own.",
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _generate(tokenizer: Any, model: Any, orders: Sequence[tuple[str, int]], new_tokens: int) -> list[str]:
    """Sampled by the Gumbel-max trick (Maddison et al. 2014), each row with noise of its own seed, so that what a
    row says does not depend on how many were written before it."""
    import torch
    from transformers import LogitsProcessorList, TopPLogitsWarper

    generators = [torch.Generator().manual_seed(seed % 2**63) for _, seed in orders]

    def gumbel(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # scores: (rows, vocabulary)
        rows = [torch.rand(scores.shape[1], generator=own) for own in generators]
        uniform = torch.stack(rows).clamp_min(1e-20).to(scores.device)
        return scores.float() - torch.log((-torch.log(uniform)).clamp_min(1e-20))

    prompts = [_prompt(tokenizer, order) for order, _ in orders]
    longest = getattr(model.config, "max_position_embeddings", None) or 2**20
    room = max(16, longest - new_tokens)
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, truncation=True, max_length=room).to(model.device)
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        ids = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=min(new_tokens, longest - inputs["input_ids"].shape[1]),
            pad_token_id=tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([TopPLogitsWarper(TOP_P), gumbel]),
        )
    fresh = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(fresh, skip_special_tokens=True)]


def _prompt(tokenizer: Any, order: str) -> str:
    if getattr(tokenizer, "chat_template", None):
        messages = [{"role": "user", "content": order}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    return order + "\n\n"
