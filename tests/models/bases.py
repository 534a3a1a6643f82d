"""Bases as other people's folders are: transformers' own classes, small, saved with a tokenizer beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

SMALL: dict[str, Any] = {"vocab_size": 512, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 0}
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
GROUPED: dict[str, Any] = {**SHAPE, "num_key_value_heads": 2, "head_dim": 16}
CONFIGS = {
    "gpt2": lambda: transformers.GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=64, **SMALL),
    "llama": lambda: transformers.LlamaConfig(**GROUPED, **SMALL),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED, **SMALL),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, **SMALL),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, query_pre_attn_scalar=16, **SMALL),
}
ENCODERS = {
    "bert": lambda: transformers.BertConfig(**SHAPE, **SMALL),
    "distilbert": lambda: transformers.DistilBertConfig(
        dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64, **SMALL
    ),
}


def save_base(kind: str, folder: Path, tokenizer_folder: Path) -> Path:
    """A folder with a seeded model of this family, as it is pretrained."""
    torch.manual_seed(3)
    if kind in CONFIGS:
        model = transformers.AutoModelForCausalLM.from_config(CONFIGS[kind]())
    else:
        model = transformers.AutoModelForMaskedLM.from_config(ENCODERS[kind]())
    model.save_pretrained(folder)
    for path in tokenizer_folder.iterdir():
        if path.suffix == ".json" and path.name != "receipt.json":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder
