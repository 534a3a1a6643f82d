"""What a fine-tuning starts from: found wherever it is, looked over before it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forja.errors import ForjaError
from forja.models.base import find_base
from models.bases import save_base


def test_a_folder_is_found_by_its_path(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base("gpt2", tmp_path / "gpt2", tokenizer_folder)
    base = find_base(str(folder))
    assert base.folder == folder.resolve()
    assert base.described["model_type"] == "gpt2"


def test_a_run_is_found_by_its_name(tmp_path: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORJA_RUNS", str(tmp_path))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "recipe.yaml").write_text("name: ours\n")
    with pytest.raises(ForjaError, match="no model yet"):
        find_base("ours")
    save_base("gpt2", tmp_path / "ours" / "model", tokenizer_folder)
    assert find_base("ours").folder == (tmp_path / "ours" / "model").resolve()


def test_another_byte_of_weights_is_another_signature(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base("gpt2", tmp_path / "gpt2", tokenizer_folder)
    before = find_base(str(folder)).signature()
    assert find_base(str(folder)).signature() == before
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    assert find_base(str(folder)).signature() != before


def test_pickled_weights_are_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base("gpt2", tmp_path / "gpt2", tokenizer_folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(ForjaError, match=r"pytorch_model.bin is pickled"):
        find_base(str(folder))


def test_a_folders_own_code_is_refused_unless_it_is_named(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base("gpt2", tmp_path / "gpt2", tokenizer_folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ForjaError, match="code of its own"):
        find_base(str(folder))
    with pytest.raises(ForjaError, match="code of its own"):
        find_base(str(folder), remote_code="another")
    assert find_base(str(folder), remote_code=str(folder)).remote_code


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_base("gpt2", tmp_path / "gpt2", tokenizer_folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ForjaError, match="no tokenizer"):
        find_base(str(folder))


def test_what_is_nowhere_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ForjaError, match="neither a run nor a Hugging Face folder"):
        find_base(str(tmp_path / "nothing"))
    with pytest.raises(ForjaError, match="hub does not give it"):
        find_base("nobody-here/no-such-model")
