"""Conversations to ids through a tokenizer's own chat template, with a mark on what the assistant says.

What a message says can never speak as a role: the template is filled with placeholders, and only what the template
itself wrote is read for control tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.errors import ForjaError
from forja.tokens.texts import text_backend

Message = dict[str, str]

MARK = "\ue0f0{}\ue0f1"
"""Stands for a message's content while the template is filled; of characters that no template looks at."""


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
        from transformers import AutoTokenizer
        from transformers.utils import logging

        heard = logging.get_verbosity()
        logging.set_verbosity_error()
        self.folder = folder
        try:
            self._template = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the library raises many kinds, bare Exception among them
            raise ForjaError(f"the tokenizer cannot be read ({error}).", where=str(folder)) from None
        finally:
            logging.set_verbosity(heard)
        if not self._template.chat_template:
            raise ForjaError(
                "the tokenizer has no chat template, so it cannot write conversations.",
                where=str(folder),
                fix="Put `chat_template` into its tokenizer_config.json, or a chat_template.jinja beside it.",
            )
        self._controls, self._contents = text_backend(folder), text_backend(folder)
        for backend in (self._controls, self._contents):
            backend.no_truncation()
            backend.no_padding()
        self._contents.encode_special_tokens = True
        self._special = {token for token, known in self._controls.get_added_tokens_decoder().items() if known.special}
        self._check()

    def encode(self, messages: Sequence[Message], *, context: int | None = None, last_only: bool = False) -> Encoded:
        """A conversation to learn from: what the assistant says counts, with the token that ends its turn.

        context: tokens at most; earlier turns are left out, whole, and what is still too long is cut at its end.
        last_only: of the assistant's turns the last alone counts.
        """
        kept, cut = list(messages), False
        encoded = self._encode(kept, last_only)
        while context is not None and len(encoded.ids) > context:
            shorter, cut = _without_first_turn(kept), True
            if shorter is None:
                return Encoded(encoded.ids[:context], encoded.counted[:context], True)
            kept = shorter
            encoded = self._encode(kept, last_only)
        return Encoded(encoded.ids, encoded.counted, cut)

    def encode_preference(
        self, prompt: Sequence[Message] | None, chosen: str | None, rejected: str | None, *, context: int | None = None
    ) -> tuple[Encoded, Encoded]:
        """The two conversations that end in the chosen and in the rejected answer; the answers alone count."""
        both = [[*(prompt or []), {"role": "assistant", "content": answer or ""}] for answer in (chosen, rejected)]
        one, two = (self.encode(messages, context=context, last_only=True) for messages in both)
        return one, two

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
        backend = self._contents if is_content else self._controls
        said = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = backend.encode(said, add_special_tokens=False).ids
        return ids

    def _pieces(self, messages: Sequence[Message], *, reply: bool) -> list[tuple[str, int | None]]:
        """What the template makes of the messages, in order: its own text (None), and messages' contents by place."""
        rendered = self._rendered(messages, reply=reply)
        pieces: list[tuple[str, int | None]] = []
        for number, message in enumerate(messages):
            before, found, rendered = rendered.partition(MARK.format(number))
            if not found:
                raise ForjaError(
                    f"the chat template leaves out a message of role {message['role']}.", where=str(self.folder)
                )
            pieces += [(before, None), (message["content"], number)]
        return [(text, place) for text, place in [*pieces, (rendered, None)] if text]

    def _rendered(self, messages: Sequence[Message], *, reply: bool) -> str:
        marked = [{"role": one["role"], "content": MARK.format(at)} for at, one in enumerate(messages)]
        try:
            told: Any = self._template.apply_chat_template(marked, tokenize=False, add_generation_prompt=reply)
        except Exception as error:  # a template may raise whatever it likes
            raise ForjaError(
                f"the chat template refuses a conversation ({error}).",
                where=str(self.folder),
                fix="Its roles may be fewer, or have to take turns: change the conversations, or the template.",
            ) from None
        return str(told)

    def _check(self) -> None:
        asked = [{"role": "user", "content": "?"}]
        before, after = self._rendered(asked, reply=False), self._rendered(asked, reply=True)
        answered = self._rendered([*asked, {"role": "assistant", "content": "!"}], reply=False)
        if before == after or not answered.startswith(after):
            raise ForjaError(
                "the chat template has no generation prompt: nothing tells the model that it is its turn.",
                where=str(self.folder),
                fix="End the template with {% if add_generation_prompt %}...{% endif %}, as its turns begin.",
            )


def _without_first_turn(messages: list[Message]) -> list[Message] | None:
    """The conversation without its first exchange, a system message kept; None where there is but one."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    nexts = [at for at in range(first + 1, len(messages)) if messages[at]["role"] == "user"]
    return messages[:first] + messages[nexts[0] :] if nexts else None
