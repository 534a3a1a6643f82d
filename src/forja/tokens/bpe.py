"""The tokenizer: byte-level BPE, lossless for any Unicode text, with control ids that text never makes.

Ids 0 to 63 are control ids, 64 to 163 sentinels (span corruption), then 256 bytes, then merges.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

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
SMALLEST_VOCABULARY = 512
"""What the recipe allows: the reserved ids, 256 bytes and a few merges."""

# As GPT-2's (Radford et al. 2019) but that digits come in threes at most, as in cl100k, so that numbers split alike,
# and that combining marks stay with their letters, so that words of Hindi or Thai are not torn apart.
SPLIT = (
    r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}\p{M}]+|\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PIECE = 1 << 16
"""Characters encoded at once: one long document then takes all cores, and one long line little memory."""
SURROGATE = re.compile("[\ud800-\udfff]")
MEASURED_BYTES = 4_000_000
"""Text on which bytes a token are measured, at most."""
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
        """The text's ids; `decode` gives it back exactly (half a surrogate pair, which is no text, as U+FFFD)."""
        if len(text) > PIECE:
            return self.encode_batch([text])[0]
        ids: list[int] = self._backend.encode(_encodable(text), add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """As `encode`, over all cores; other Python threads run meanwhile."""
        cut = [pieces_of(_encodable(text)) for text in texts]
        flat = [piece for pieces in cut for piece in pieces]
        found = iter(self._backend.encode_batch_fast(flat, add_special_tokens=False))
        encoded = []
        for pieces in cut:
            ids: list[int] = next(found).ids
            for _ in pieces[1:]:
                ids.extend(next(found).ids)
            encoded.append(ids)
        return encoded

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


def _encodable(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which UTF-8 cannot hold."""
    try:
        text.encode()  # several times as fast as looking for one
    except UnicodeEncodeError:
        return SURROGATE.sub("\ufffd", text)
    return text


def pieces_of(text: str) -> list[str]:
    """The text cut into pieces of at most PIECE characters, before a space that follows a word: `SPLIT` has a
    border there, so the ids are the whole text's. Only where there is no such space is the cut a hard one."""
    pieces, start = [], 0
    while len(text) - start > PIECE:
        stop = text.rfind(" ", start + 1, start + PIECE)
        while stop > start and text[stop - 1].isspace():
            stop = text.rfind(" ", start + 1, stop)
        stop = stop if stop > start else start + PIECE
        pieces.append(text[start:stop])
        start = stop
    return [*pieces, text[start:]]


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
        expected = min(section.sample_bytes, _text_bytes(corpus_folder))
        with progress("learning merges", total=expected, unit="bytes") as bar:
            for text in _sample(corpus_folder, section.sample_bytes):
                size = len(text.encode())
                sampled += size
                bar.advance(size)
                yield from pieces_of(text)

    backend.train_from_iterator(sample(), trainer)
    _check_size(backend.get_vocab_size(), sampled, section)
    save_tokenizer(backend, workspace)
    bytes_per_token = _compression(Tokenizer(backend), corpus_folder, min(section.sample_bytes, MEASURED_BYTES))
    return TokenizerFigures(backend.get_vocab_size(), bytes_per_token, sampled)


def _check_size(reached: int, sampled: int, section: TokenizerSection) -> None:
    if reached >= section.vocabulary:
        return
    lower = f" lower tokenizer.vocabulary to {reached} or less," if reached >= SMALLEST_VOCABULARY else ""
    rarer = " or set tokenizer.min_frequency=1" if section.min_frequency > 1 else ""
    raise ForjaError(
        f"the corpus ({sampled:,} bytes looked at) supports a vocabulary of {reached:,}, "
        f"and {section.vocabulary:,} are asked for.",
        where="tokenizer.vocabulary",
        fix=f"Either{lower} give more text{rarer}." if lower or rarer else "Give more text.",
    )


def _compression(tokenizer: Tokenizer, corpus_folder: Path, wanted: int) -> float:
    """Bytes a token over the first `wanted` bytes of the sample."""
    texts = list(_sample(corpus_folder, wanted))
    tokens = sum(map(len, tokenizer.encode_batch(texts)))
    return sum(len(text.encode()) for text in texts) / max(tokens, 1)


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


def _text_bytes(corpus_folder: Path) -> int:
    """About how many bytes of text the corpus holds, from the files' footers alone."""
    total = 0
    for path in sorted(corpus_folder.glob("documents-*.parquet")):
        footer = pq.ParquetFile(path).metadata
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            columns = (group.column(place) for place in range(group.num_columns))
            total += sum(column.total_uncompressed_size for column in columns if column.path_in_schema == "text")
    return total


def _sample(corpus_folder: Path, wanted: int) -> Iterator[str]:
    """Texts of the first documents, up to `wanted` bytes, the last one cut to fit. Documents lie in the order
    of their ids, which are digests: any first part of the corpus is a fair sample of it."""
    for path in sorted(corpus_folder.glob("documents-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=["text"]):
            for text in batch["text"].to_pylist():
                size = len(text.encode())
                if size >= wanted:
                    yield text.encode()[:wanted].decode(errors="ignore")
                    return
                wanted -= size
                yield text
