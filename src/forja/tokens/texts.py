"""Texts as a classifier reads them: ids with the control tokens that its tokenizer puts around a text, cut to fit.

A text never speaks as a control token, whatever it says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forja.errors import ForjaError

if TYPE_CHECKING:
    import tokenizers

BEGIN, SUM_UP = "<|endoftext|>", "<|cls|>"


class TextEncoder:
    """Texts to ids, by the tokenizer in a folder. plain: see `read_plainly`; a folder that was saved so stays so.

    Raises ForjaError where there is no tokenizer that can be read.
    """

    def __init__(self, folder: Path, *, max_tokens: int, plain: bool = False) -> None:
        self.max_tokens = max_tokens
        self.backend = text_backend(folder)
        if plain:
            read_plainly(self.backend)
        self.backend.encode_special_tokens = True
        self.backend.no_padding()
        self.backend.enable_truncation(max_tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, at most `max_tokens`, the control tokens included; never none."""
        cleaned = [text.encode("utf-8", "replace").decode("utf-8") or " " for text in texts]
        return [encoding.ids for encoding in self.backend.encode_batch(cleaned, add_special_tokens=True)]

    def save(self, path: Path) -> None:
        """tokenizer.json as it is used here, but that it cuts nothing."""
        self.backend.no_truncation()
        self.backend.save(str(path))


def text_backend(folder: Path) -> tokenizers.Tokenizer:
    """The fast tokenizer of a folder. One of Forja's own, which puts nothing around a text, is made to begin it as a
    document begins and to end it with the token that sums it up (Radford et al. 2018, section 3.3)."""
    import tokenizers
    from tokenizers.processors import TemplateProcessing

    path = folder / "tokenizer.json"
    try:
        backend = tokenizers.Tokenizer.from_file(str(path)) if path.is_file() else _converted(folder)
    except ForjaError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise ForjaError(f"the tokenizer cannot be read ({error}).", where=str(folder)) from None
    begin, end = backend.token_to_id(BEGIN), backend.token_to_id(SUM_UP)
    if backend.post_processor is None and begin is not None and end is not None:
        backend.post_processor = TemplateProcessing(
            single=f"{BEGIN} $A {SUM_UP}", special_tokens=[(BEGIN, begin), (SUM_UP, end)]
        )
    return backend


def read_plainly(backend: tokenizers.Tokenizer) -> None:
    """Read lower case, without the word Subject before a mail, with one space at most between words and none beside
    signs: what is left is alike in mails as they were sent and in collections that were cut into words."""
    from tokenizers import Regex
    from tokenizers.normalizers import Lowercase, Replace, Sequence

    gone = (r"\A\s*subject\s*:\s*", r"\s+(?=[^\w\s])", r"(?<=[^\w\s])\s+")
    steps = [Lowercase(), *(Replace(Regex(pattern), "") for pattern in gone), Replace(Regex(r"\s+"), " ")]
    backend.normalizer = Sequence(steps if backend.normalizer is None else [backend.normalizer, *steps])


def _converted(folder: Path) -> Any:
    """The fast form of a tokenizer that is only there in another."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False).backend_tokenizer
    except Exception as error:
        raise ForjaError(
            f"there is no tokenizer.json here, and the tokenizer cannot be made from other files ({error}).",
            where=str(folder),
            fix="Save it with AutoTokenizer.from_pretrained(...).save_pretrained(folder).",
        ) from None


def padding_id(folder: Path) -> int | None:
    """The id that pads: the tokenizer's own padding token, or the end of text; None where neither is told."""
    return _named(folder, "pad_token", "eos_token")


def begin_id(folder: Path) -> int:
    """The id that begins a document: the beginning of text, or the end. Raises ForjaError where neither is told."""
    return _parting(folder, "bos_token", "eos_token", "cls_token")


def end_id(folder: Path) -> int:
    """The id that parts documents: the end of text, or the beginning. Raises ForjaError where neither is told."""
    return _parting(folder, "eos_token", "bos_token", "sep_token")


def _parting(folder: Path, *roles: str) -> int:
    found = _named(folder, *roles)
    if found is None:
        raise ForjaError(
            "the tokenizer names no end of text, which parts one document from the next.",
            where=str(folder),
            fix="Name eos_token in its tokenizer_config.json.",
        )
    return found


def _named(folder: Path, *roles: str) -> int | None:
    """The id of the first of the roles that the tokenizer's configuration gives a token."""
    backend = text_backend(folder)
    files = [folder / name for name in ("special_tokens_map.json", "tokenizer_config.json")]
    told = [json.loads(path.read_text(encoding="utf-8")) for path in files if path.is_file()]
    for role in roles:
        for named in filter(None, (entries.get(role) for entries in told)):
            found = backend.token_to_id(named["content"] if isinstance(named, dict) else named)
            if found is not None:
                return int(found)
    return None
