"""What tests of models share."""

from __future__ import annotations

from pathlib import Path

import pytest

from forja.recipe import TokenizerSection
from forja.tokens.bpe import train_tokenizer
from made import sentences, write_documents


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_documents(folder / "corpus", [sentences(seed, 20) for seed in range(40)])
    (folder / "tokenizer").mkdir()
    train_tokenizer(TokenizerSection(vocabulary=512), folder / "corpus", folder / "tokenizer")
    return folder / "tokenizer"
