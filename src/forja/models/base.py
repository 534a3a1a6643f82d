"""A trained model to start from, wherever it is: a run, a Hugging Face folder, or a hub name, as one local folder
that has been looked over.

Pickled weights are refused always, a folder's own code unless it is allowed by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.errors import ForjaError
from forja.run import digest, find_run, sha256_file

WANTED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What of a hub's repository is fetched: weights, configuration and tokenizer, no code."""
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True)
class Base:
    """A model's folder. named: as it was asked for; remote_code: whether the folder's own code may run."""

    named: str
    folder: Path
    remote_code: bool = False

    @property
    def described(self) -> dict[str, Any]:
        """Its config.json. Raises ForjaError where it is damaged."""
        try:
            return dict(json.loads((self.folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise ForjaError("its config.json cannot be read.", where=str(self.folder)) from None

    def signature(self) -> str:
        """A digest of all that is read of it."""
        files = sorted(path for kind in WANTED for path in self.folder.glob(kind) if path.name != "receipt.json")
        return digest({path.name: sha256_file(path) for path in files})


def find_base(reference: str, *, remote_code: str | None = None) -> Base:
    """The model that `reference` names. remote_code: the name of the one whose code may run.

    Raises ForjaError where there is none, and for pickled weights, code that is not allowed, or no tokenizer.
    """
    base = Base(reference, _folder(reference, with_code=remote_code == reference), remote_code == reference)
    if not list(base.folder.glob("*.safetensors")):
        found = next((path.name for kind in PICKLED for path in sorted(base.folder.glob(kind))), None)
        why = f" {found} is pickled, which can run code, and is not read." if found else ""
        raise ForjaError(
            f"the model has no weights in safetensors.{why}",
            where=reference,
            fix="Save it again with save_pretrained, on a machine that may run it, and name that folder.",
        )
    if "auto_map" in base.described and not base.remote_code:
        raise ForjaError(
            "the model comes with code of its own, which is not run unasked.",
            where=reference,
            fix=f"Read the code; to let it run, set finetune.remote_code to {reference!r}.",
        )
    if not any((base.folder / name).is_file() for name in TOKENIZERS):
        raise ForjaError(
            "the model's folder has no tokenizer.",
            where=reference,
            fix="Put its tokenizer.json (and tokenizer_config.json) beside config.json.",
        )
    return base


def _folder(reference: str, *, with_code: bool) -> Path:
    try:
        run = find_run(reference)
    except ForjaError:
        run = None
    if run is not None:
        if not (run / "model" / "config.json").is_file():
            raise ForjaError("this run has no model yet.", where=str(run), fix="Run it to the end first.")
        return run / "model"
    place = Path(reference).expanduser()
    if (place / "config.json").is_file():
        return place.resolve()
    if place.exists() or reference.startswith((".", "/", "~")) or reference.count("/") > 1:
        raise ForjaError(
            "there is no model here: neither a run nor a Hugging Face folder with a config.json.", where=reference
        )
    return _from_hub(reference, with_code=with_code)


def _from_hub(name: str, *, with_code: bool) -> Path:
    """The hub's repository in the local cache, fetched where it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*WANTED, "*.py"] if with_code else list(WANTED)
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ForjaError(
            f"there is no run or folder of this name, and the hub does not give it ({said}).",
            where=name,
            fix="Check the name; without a network, name a run or a folder that lies on this machine.",
        ) from None
