"""The tokenizer: byte-level BPE, lossless for any Unicode text, with control ids that text never makes.

Ids 0 to 63 are control ids, 64 to 163 sentinels (span corruption), then 256 bytes, then merges.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import xxhash

from forja.errors import ForjaError
from forja.progress import progress
from forja.recipe import TokenizerSection
from forja.run import write_json_atomic

if TYPE_CHECKING:
    import tokenizers

NAMED_CONTROLS = (
    "<|endoftext|>",
    "<|pad|>",
    "<|mask|>",
    "<|cls|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
CONTROLS = 64
SENTINELS = 100
RESERVED = CONTROLS + SENTINELS
"""Ids below this never come from text."""

# As GPT-2's (Radford et al. 2019) but that digits come in threes at most, as in cl100k, so that numbers split alike.
SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class TokenizerFigures:
    """vocabulary: entries; bytes_per_token: over the sample that was trained on; sample_bytes: its size."""

    vocabulary: int
    bytes_per_token: float
    sample_bytes: int


class Tokenizer:
    """Text to ids and back. Encoding never gives a control id, whatever the text says."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self._backend.encode_special_tokens = True
        self.vocab_size = backend.get_vocab_size()
        end = backend.token_to_id("<|endoftext|>")
        self.end_of_text: int = 0 if end is None else end

    def control(self, name: str) -> int | None:
        """The id of a control token such as `<|user|>`, or None where the tokenizer has none."""
        found: int | None = self._backend.token_to_id(name)
        return found

    @property
    def reserved(self) -> frozenset[int]:
        """Ids that are control tokens."""
        return frozenset(self._backend.get_added_tokens_decoder())

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """As `encode`, over all cores."""
        return [found.ids for found in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        text: str = self._backend.decode(ids, skip_special_tokens=False)
        return text

    def encode_chat(self, messages: list[dict[str, str]], *, add_generation_prompt: bool = True) -> list[int]:
        """Messages of `role` (system, user, assistant) and `content`, with the control ids around them."""
        ids: list[int] = []
        for message in messages:
            ids += [self._named(f"<|{message['role']}|>"), *self.encode(message["content"]), self._named("<|end|>")]
        return [*ids, self._named("<|assistant|>")] if add_generation_prompt else ids

    def stream_decoder(self) -> StreamDecoder:
        return StreamDecoder(self._backend)

    def _named(self, name: str) -> int:
        found = self.control(name)
        if found is None:
            raise ForjaError(f"this tokenizer has no {name}, so it cannot write chats.")
        return found


class StreamDecoder:
    """Ids to text as they come, holding back bytes until they are whole characters."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._bytes = {character: byte for byte, character in enumerate(byte_alphabet())}

    def push(self, token: int) -> str:
        """The text that is certain once `token` is known."""
        piece = self._backend.id_to_token(token) or ""
        if all(character in self._bytes for character in piece):
            return self._utf8.decode(bytes(self._bytes[character] for character in piece))
        return self._utf8.decode(b"") + piece

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


def byte_alphabet() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in alphabet)
    alphabet.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [alphabet[byte] for byte in range(256)]


def control_tokens() -> list[str]:
    """The 64 control tokens and the 100 sentinels, in the order of their ids."""
    controls = [*NAMED_CONTROLS, *(f"<|control_{number}|>" for number in range(len(NAMED_CONTROLS), CONTROLS))]
    return controls + [f"<|sentinel_{number}|>" for number in range(SENTINELS)]


def train_tokenizer(section: TokenizerSection, corpus_folder: Path, workspace: Path) -> TokenizerFigures:
    """Train on the corpus's documents; writes tokenizer.json and what AutoTokenizer reads beside it.

    Raises ForjaError where the corpus holds too little text for the vocabulary.
    """
    import tokenizers
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=section.vocabulary,
        min_frequency=section.min_frequency,
        special_tokens=control_tokens(),
        initial_alphabet=byte_alphabet(),
        show_progress=False,
    )
    sampled = 0

    def sample() -> Iterator[str]:
        nonlocal sampled
        with progress("learning merges", total=total, unit="bytes") as bar:
            for text in _sample(corpus_folder, keep):
                size = len(text.encode())
                sampled += size
                bar.advance(size)
                yield text

    total, keep = _sampling(corpus_folder, section.sample_bytes)
    backend.train_from_iterator(sample(), trainer)
    if backend.get_vocab_size() < section.vocabulary:
        raise ForjaError(
            f"the corpus ({sampled:,} bytes) supports a vocabulary of {backend.get_vocab_size():,}, "
            f"and {section.vocabulary:,} are asked for.",
            fix=f"Give more text, or set tokenizer.vocabulary={backend.get_vocab_size()}.",
        )
    save_tokenizer(backend, workspace)
    tokenizer = Tokenizer(backend)
    tokens = measured = 0
    for text in _sample(corpus_folder, min(keep, 4_000_000 / max(total, 1) * keep)):
        tokens += len(tokenizer.encode(text))
        measured += len(text.encode())
    return TokenizerFigures(backend.get_vocab_size(), measured / max(tokens, 1), sampled)


def save_tokenizer(backend: tokenizers.Tokenizer, folder: Path) -> None:
    """tokenizer.json and the companions by which AutoTokenizer loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    named |= {"mask_token": "<|mask|>", "cls_token": "<|cls|>"}
    write_json_atomic(folder / "special_tokens_map.json", named)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
    write_json_atomic(folder / "tokenizer_config.json", {**config, "chat_template": CHAT_TEMPLATE})


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a folder. Raises ForjaError where there is none."""
    import tokenizers

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ForjaError("there is no tokenizer.json here.", where=str(folder), fix="Run the tokenizer stage.")
    try:
        json.loads(path.read_text(encoding="utf-8"))
        return Tokenizer(tokenizers.Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises bare Exception
        raise ForjaError(f"the tokenizer cannot be read ({error}).", where=str(path)) from None


def _sampling(corpus_folder: Path, wanted: int) -> tuple[int, float]:
    """Bytes to expect and the share of documents that comes to about `wanted` bytes."""
    whole = sum(len(text.encode()) for text in _sample(corpus_folder, 1.0))
    share = min(1.0, wanted / max(whole, 1))
    return round(whole * share), share


def _sample(corpus_folder: Path, share: float) -> Iterator[str]:
    """Texts of the documents whose id falls in the share, in the order of their ids."""
    for path in sorted(corpus_folder.glob("documents-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=["id", "text"]):
            for identity, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if share >= 1 or xxhash.xxh3_64_intdigest(f"tokenizer:{identity}".encode()) < share * 2**64:
                    yield text
