"""Conversations to ids through a tokenizer's own chat template, with a mark on what the assistant says.

What a message says can never speak as a role: the template is filled with placeholders, and only what the template
itself wrote is read for control tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forja.errors import ForjaError
from forja.tokens.bpe import SURROGATE
from forja.tokens.texts import text_backend

if TYPE_CHECKING:
    import tokenizers

Message = dict[str, str]

OPEN, CLOSE = "\ue0f0", "\ue0f1"
"""Around a message's number, which stands for its content while the template is filled: no template looks for them."""
QUESTION, ANSWER = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}
FILES = ("tokenizer*", "vocab*", "*.model")
"""What the files of a tokenizer are called."""


@dataclass(frozen=True)
class Encoded:
    """ids of a conversation; counted: of each, whether it is to be learned; cut: whether it was too long."""

    ids: list[int]
    counted: list[bool]
    cut: bool = False


class ChatEncoder:
    """The template and the tokenizer in a folder. Raises ForjaError where there is none, or no way to
    tell that it is the assistant's turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._template = _tokenizer_with_template(folder)
        written = f"{self._template.chat_template}{self._require_reply()}"
        self._controls = text_backend(folder)
        known = {token: one for token, one in self._controls.get_added_tokens_decoder().items() if one.content.strip()}
        spoken = {one.content for one in known.values() if one.content in written}
        self._special = {token for token, one in known.items() if one.special or one.content in spoken}
        names = sorted((known[token].content for token in self._special), key=len, reverse=True)
        self._names = re.compile("|".join(map(re.escape, names)))
        self._never = self._special - {self._template.unk_token_id}
        self._contents = _deaf_to(self._controls, spoken)
        for backend in (self._controls, self._contents):
            backend.no_truncation()
            backend.no_padding()

    def encode(self, messages: Sequence[Message], *, context: int | None = None, last_only: bool = False) -> Encoded:
        """A conversation to learn from: what the assistant says counts, with the token that ends its turn.

        context: tokens at most; earlier turns are left out, whole, and what is still too long is cut at its end.
        last_only: of the assistant's turns the last alone counts.
        """
        kept = list(messages)
        encoded = self._encode(kept, last_only)
        while context is not None and len(encoded.ids) > context and (shorter := _without_first_turn(kept)):
            kept = shorter
            encoded = self._encode(kept, last_only)
        return _cut(encoded, context, shortened=len(kept) < len(messages))

    def encode_preference(
        self, prompt: Sequence[Message] | None, chosen: str | None, rejected: str | None, *, context: int | None = None
    ) -> tuple[Encoded, Encoded]:
        """The two conversations that end in the chosen and in the rejected answer; the answers alone count."""
        asked = list(prompt or [])
        while True:  # of both the same turns, so that the answers alone differ
            both = [[*asked, {"role": "assistant", "content": answer or ""}] for answer in (chosen, rejected)]
            pair = [self._encode(messages, last_only=True) for messages in both]
            shorter = _without_first_turn(asked)
            if context is None or shorter is None or all(len(side.ids) <= context for side in pair):
                one, two = (_cut(side, context, shortened=len(asked) < len(prompt or [])) for side in pair)
                return one, two
            asked = shorter

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """A conversation up to where the assistant's next turn begins."""
        pieces = self._pieces(messages, reply=True)
        return [token for text, message in pieces for token in self._ids(text, message is not None)]

    def _encode(self, messages: Sequence[Message], last_only: bool) -> Encoded:
        ids: list[int] = []
        counted: list[bool] = []
        spoke = False
        last = len(messages) - 1
        for text, message in self._pieces(messages, reply=False):
            found = self._ids(text, message is not None)
            if message is None:
                ending = self._ending(found) if spoke else 0
                counted += [at < ending for at in range(len(found))]
                spoke = False
            else:
                spoke = messages[message]["role"] == "assistant" and (not last_only or message == last)
                counted += [spoke] * len(found)
            ids += found
        return Encoded(ids, counted)

    def _ending(self, ids: list[int]) -> int:
        """How many of the template's tokens after an answer end it: up to the first control token, else one."""
        return next((at + 1 for at, token in enumerate(ids) if token in self._special), min(1, len(ids)))

    def _ids(self, text: str, is_content: bool) -> list[int]:
        said = SURROGATE.sub("\ufffd", text)
        if not is_content:
            return _encoded(self._controls, said)
        ids = _encoded(self._contents, said)
        if self._never.isdisjoint(ids):
            return ids
        # A vocabulary may hold a control token as a word too: one that a message spells is read in two halves.
        cuts = [found.start() + 1 for found in self._names.finditer(said)]
        ids = [
            token for one, two in pairwise([0, *cuts, len(said)]) for token in _encoded(self._contents, said[one:two])
        ]
        if not self._never.isdisjoint(ids):
            raise ForjaError(
                "the tokenizer reads a message as a control token, so that what is said could pass for a turn.",
                where=str(self.folder),
            )
        return ids

    def _pieces(self, messages: Sequence[Message], *, reply: bool) -> list[tuple[str, int | None]]:
        """What the template makes of the messages, in order: its own text (None), and messages' contents by place."""
        rendered = self._rendered(messages, reply=reply)
        pieces: list[tuple[str, int | None]] = []
        for number, message in enumerate(messages):
            before, found, rendered = rendered.partition(_mark(number))
            if not found:
                raise ForjaError(
                    f"the chat template leaves out a message of role {message['role']}, or moves it.",
                    where=str(self.folder),
                )
            pieces += [(before, None), (message["content"], number)]
        pieces.append((rendered, None))
        if any(OPEN in text for text, place in pieces if place is None):
            raise ForjaError("the chat template writes a message twice.", where=str(self.folder))
        return [(text, place) for text, place in pieces if text]

    def _rendered(self, messages: Sequence[Message], *, reply: bool) -> str:
        marked = [{"role": one["role"], "content": _mark(at)} for at, one in enumerate(messages)]
        try:
            told: Any = self._template.apply_chat_template(marked, tokenize=False, add_generation_prompt=reply)
        except Exception as error:  # a template may raise whatever it likes
            raise ForjaError(
                f"the chat template refuses a conversation ({error}).",
                where=str(self.folder),
                fix="Its roles may be fewer, or have to take turns: change the conversations, or the template.",
            ) from None
        return str(told)

    def _require_reply(self) -> str:
        """What a question and its answer are written as, once the template is known to tell whose turn it is."""
        before, after = (self._rendered([QUESTION], reply=reply) for reply in (False, True))
        answered = self._rendered([QUESTION, ANSWER], reply=False)
        if before == after or not answered.startswith(after):
            raise ForjaError(
                "the chat template has no generation prompt: nothing tells the model that it is its turn.",
                where=str(self.folder),
                fix="End the template with {% if add_generation_prompt %}...{% endif %}, as its turns begin.",
            )
        return answered


def _mark(number: int) -> str:
    return f"{OPEN}{number}{CLOSE}"


def _cut(encoded: Encoded, context: int | None, *, shortened: bool) -> Encoded:
    """Its first `context` tokens; shortened: whether it lost turns already."""
    long = context is not None and len(encoded.ids) > context
    return Encoded(encoded.ids[:context], encoded.counted[:context], shortened or long)


def _tokenizer_with_template(folder: Path) -> Any:
    """The tokenizer as transformers has it. Raises ForjaError where there is none, or none with a template."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    if not any(path for pattern in FILES for path in folder.glob(pattern)):
        raise ForjaError(
            "there is no tokenizer here.",
            where=str(folder),
            fix="Save it beside the model: AutoTokenizer.from_pretrained(...).save_pretrained(folder).",
        )
    heard = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises many kinds, bare Exception among them
        said = " ".join(str(error).split())
        raise ForjaError(f"the tokenizer cannot be read ({said}).", where=str(folder)) from None
    finally:
        logging.set_verbosity(heard)
    if not found.chat_template:
        raise ForjaError(
            "the tokenizer has no chat template, so it cannot write conversations.",
            where=str(folder),
            fix="Put `chat_template` into its tokenizer_config.json, or a chat_template.jinja beside it.",
        )
    return found


def _deaf_to(backend: tokenizers.Tokenizer, spoken: set[str]) -> tokenizers.Tokenizer:
    """The tokenizer such that no text gives a special token, nor one of those that the template writes."""
    from tokenizers import Tokenizer

    described = json.loads(backend.to_str())
    for token in described["added_tokens"]:
        token["special"] = token["special"] or token["content"] in spoken
    deaf = Tokenizer.from_str(json.dumps(described))
    deaf.encode_special_tokens = True
    return deaf


def _encoded(backend: tokenizers.Tokenizer, text: str) -> list[int]:
    ids: list[int] = backend.encode(text, add_special_tokens=False).ids
    return ids


def _without_first_turn(messages: list[Message]) -> list[Message] | None:
    """The conversation without its first exchange, a system message kept; None where there is but one."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    nexts = [at for at in range(first + 1, len(messages)) if messages[at]["role"] == "user"]
    return messages[:first] + messages[nexts[0] :] if nexts else None
