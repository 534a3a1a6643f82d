"""Rows as people have them to examples: labelled texts, conversations, plain text, or preferences.

A file's layout is told from its columns. No text of a row ever gets into an error: rows are named by file and number.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from forja.corpus.rows import Row, read_rows
from forja.errors import ForjaError

T = TypeVar("T")
Message = dict[str, str]
Fields = Mapping[str, Any]
Layouts = tuple[tuple[tuple[str, ...], Callable[[Fields], T]], ...]
"""The columns that tell a layout, and what reads a row of it; the first that fits is taken."""

TEXTS = ("text", "sentence", "content", "body", "message", "sms", "url", "mail", "email", "prompt", "comment", "review")
LABELS = ("label", "labels", "class", "target", "category", "type", "is_spam", "spam", "phishing")
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "developer": "system"}
SHORT = 200
"""Characters up to which a further column may name a group."""
SHOWN = 40
"""Characters of a column's name, and columns, that an error shows: where a file has no header, a name is a text."""
TURN = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class Example:
    """One example. `text` and `label` of a classification (of `continue` only `text`); `messages` of a chat; `prompt`,
    `chosen` and `rejected` of a preference. groups: the row's other short columns."""

    id: str
    text: str | None = None
    label: str | None = None
    messages: list[Message] | None = None
    prompt: list[Message] | None = None
    chosen: str | None = None
    rejected: str | None = None
    source: str = ""
    groups: dict[str, str] = field(default_factory=dict)


@dataclass
class Read:
    """What was read: the examples, and how many rows were left out for which reason; unanswered: how many of the
    conversations went on after the last answer, and now end with it."""

    examples: list[Example]
    left_out: Counter[str]
    unanswered: int = 0


class _NotUsable(Exception):
    """A row that no example can be made of; its message is the reason, counted and said."""


def read_examples(
    paths: Sequence[Path], kind: str, *, text_field: str | None = None, label_field: str | None = None
) -> Read:
    """Examples of one kind: `classification`, `chat`, `continue` or `preference`. Raises ForjaError for a layout that
    is not known, and for a row that lacks its label or text."""
    read = Read([], Counter())
    for path in paths:
        make: Callable[[Row], Example] | None = None
        name = path.name.split(".")[0]
        for row in read_rows(path):
            if make is None:
                make = _maker(kind, row.fields, path, name, text_field, label_field, read)
            try:
                read.examples.append(make(row))
            except _NotUsable as reason:
                read.left_out[str(reason)] += 1
        if make is None:
            raise ForjaError("the file holds no rows.", where=str(path))
    return read


def _maker(
    kind: str,
    fields: Fields,
    path: Path,
    name: str,
    text_field: str | None,
    label_field: str | None,
    found: Read,
) -> Callable[[Row], Example]:
    if kind == "classification":
        text, label = (
            _column(fields, TEXTS, text_field, path, "text"),
            _column(fields, LABELS, label_field, path, "label"),
        )
        return lambda row: _classified(row, text, label, path, name)
    if kind == "continue":
        column = _column(fields, TEXTS, text_field, path, "text")
        return lambda row: _plain(row, column, path, name)
    if kind == "chat":
        talk = _layout(CHATS, fields, kind, path)
        return lambda row: _placed(lambda told: _answered(talk(told), found), row, kind, path, name)
    pair = _layout(PREFERENCES, fields, kind, path)
    return lambda row: _placed(lambda told: _preference(pair(told)), row, kind, path, name)


def _layout(layouts: Layouts[T], fields: Fields, kind: str, path: Path) -> Callable[[Fields], T]:
    """The reader of the first layout whose columns are all there."""
    for needed, read in layouts:
        if all(key in fields for key in needed):
            return read
    known = "; ".join(" and ".join(needed) for needed, _ in layouts)
    raise ForjaError(
        f"its columns ({_columns(fields)}) are no layout of {kind} examples.",
        where=str(path),
        fix=f"Columns may be: {known}.",
    )


def _columns(fields: Fields) -> str:
    shown = [name if len(name) <= SHOWN else f"{name[:SHOWN]}..." for name in list(fields)[:SHOWN]]
    return ", ".join(shown) + (f" and {len(fields) - SHOWN} more" if len(fields) > SHOWN else "")


def _column(fields: Fields, names: Iterable[str], asked: str | None, path: Path, what: str) -> str:
    """The column that holds the text, or the label: the one asked for, or the first of the usual names."""
    if asked is not None:
        if asked not in fields:
            raise ForjaError(
                f"there is no column {asked!r}; there are {_columns(fields)}.",
                where=str(path),
                fix=f"Set examples.{what}_field to one of them.",
            )
        return asked
    by_name = {key.strip().lower(): key for key in fields}
    found = next((by_name[name] for name in names if name in by_name), None)
    if found is None:
        missing = "labels are missing" if what == "label" else "no column holds the text"
        raise ForjaError(
            f"{missing}: the columns are {_columns(fields)}.",
            where=str(path),
            fix=f"Name the column `{what}`, or set examples.{what}_field to its name.",
        )
    return found


# --- labelled and plain texts ------------------------------------------------------------------


def _classified(row: Row, text: str, label: str, path: Path, name: str) -> Example:
    aim = row.fields.get(label)
    if aim is None or aim != aim or not str(aim).strip():  # a gap in a column of numbers does not equal itself
        raise ForjaError(
            "the label is missing.", where=f"{path}, row {row.number}", fix="Give every row its label, or drop it."
        )
    whole = with_subject(_text(row, text, path), row.fields)
    return Example(
        id=_identity(whole, label_name(aim)),
        text=whole,
        label=label_name(aim),
        source=_source(row, name),
        groups=_groups(row.fields, {text, label}),
    )


def _text(row: Row, column: str, path: Path) -> str:
    if column not in row.fields:
        raise ForjaError(
            f"the text is missing: there is no {column!r}, as the rows before have.", where=f"{path}, row {row.number}"
        )
    said = row.fields[column]
    if said is None or not str(said).strip():
        raise _NotUsable("empty")
    return str(said)


def label_name(value: Any) -> str:
    """A label as it is written: 1, 1.0 and "1" are one label, and so are true and True."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    said = str(value).strip()
    return said[:-2] if re.fullmatch(r"-?\d+\.0", said) else said


def with_subject(text: str, fields: Fields) -> str:
    """A mail with its subject first, where the text does not hold it yet."""
    subject = str(_named(fields, "subject") or "").strip()
    if not subject or " ".join(subject.split()) in " ".join(text[: len(subject) + 200].split()):
        return text
    return f"Subject: {subject}\n{text}"


def _plain(row: Row, column: str, path: Path, name: str) -> Example:
    said = _text(row, column, path)
    return Example(id=_identity(said), text=said, source=_source(row, name))


def _groups(fields: Fields, apart: set[str]) -> dict[str, str]:
    return {
        key: str(value)
        for key, value in fields.items()
        if key not in apart and value is not None and not isinstance(value, dict | list) and len(str(value)) <= SHORT
    }


def _named(fields: Fields, name: str) -> Any:
    return next((value for key, value in fields.items() if key.strip().lower() == name), None)


def _source(row: Row, name: str) -> str:
    """What the row says it is from, else the file's name."""
    return str(_named(row.fields, "source") or name)


def _identity(*parts: Any) -> str:
    """32 hexadecimal digits that depend on what the example says alone."""
    said = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


# --- conversations -----------------------------------------------------------------------------


def _placed(read: Callable[[Fields], dict[str, Any]], row: Row, kind: str, path: Path, name: str) -> Example:
    try:
        parts = read(row.fields)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ForjaError(
            f"the row is not laid out as the others are ({type(error).__name__}: {error}).",
            where=f"{path}, row {row.number}",
        ) from None
    return Example(id=_identity(kind, parts), source=_source(row, name), **parts)


def _said(role: Any, content: Any) -> Message:
    named = ROLES.get(str(role), str(role))
    if named not in ("system", "user", "assistant"):
        raise _NotUsable("unknown role")
    return {"role": named, "content": _content(content)}


def _content(told: Any) -> str:
    """What a message says; of one in parts, as multimodal chats have it, the texts."""
    if not isinstance(told, list):
        return "" if told is None else str(told)
    if not all(isinstance(part, str) or part.get("type") == "text" for part in told):
        raise _NotUsable("content that is no text")
    return "".join(part if isinstance(part, str) else str(part["text"]) for part in told)


def _answered(messages: list[Message], found: Read) -> dict[str, Any]:
    """A conversation that ends in an answer: what follows the last one teaches nothing."""
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    kept = messages[: last + 1]
    if not any(message["role"] == "user" and message["content"].strip() for message in kept):
        raise _NotUsable("no question with an answer")
    if not kept[-1]["content"].strip():
        raise _NotUsable("empty answer")
    found.unanswered += len(kept) < len(messages)
    return {"messages": kept}


def _exchange(question: str, answer: Any, system: Any = None) -> list[Message]:
    first = [_said("system", system)] if system else []
    return [*first, _said("user", question), _said("assistant", answer)]


def _with_input(instruction: Any, given: Any) -> str:
    return f"{instruction}\n\n{given}" if given and str(given).strip() else str(instruction or "")


def _listed(told: Any) -> list[Any]:
    """A list, or the JSON of one, as a table's cell holds it."""
    listed = json.loads(told) if isinstance(told, str) else told
    if not isinstance(listed, list):
        raise TypeError("a list of messages is expected")
    return listed


def _messages(told: Any) -> list[Message]:
    return [_said(one["role"], one.get("content")) for one in _listed(told)]


def _shared(fields: Fields) -> list[Message]:
    first = [_said("system", fields["system"])] if fields.get("system") else []
    turns = _listed(fields["conversations"])
    return first + [_said(one.get("from", one.get("role")), one.get("value", one.get("content"))) for one in turns]


def _seed_task(fields: Fields) -> list[Message]:
    """The task's first instance; its others ask the same of another input, and would fill the set with one task."""
    first = fields["instances"][0]
    return _exchange(_with_input(fields["instruction"], first.get("input")), first.get("output"))


CHATS: Layouts[list[Message]] = (
    (("messages",), lambda f: _messages(f["messages"])),
    (("conversations",), _shared),
    (("instruction", "instances"), _seed_task),
    (
        ("instruction", "output"),
        lambda f: _exchange(_with_input(f["instruction"], f.get("input")), f["output"], f.get("system")),
    ),
    (("instruction", "response"), lambda f: _exchange(_with_input(f["instruction"], f.get("context")), f["response"])),
    (("prompt", "completion"), lambda f: _exchange(f["prompt"], f["completion"])),
    (("prompt", "response"), lambda f: _exchange(f["prompt"], f["response"])),
    (("question", "answer"), lambda f: _exchange(_with_input(f["question"], f.get("context")), f["answer"])),
)


# --- preferences -------------------------------------------------------------------------------

Pair = tuple[list[Message], str, str]
"""A prompt, and the answers chosen and rejected."""


def _preference(pair: Pair) -> dict[str, Any]:
    prompt, better, worse = pair
    if not any(message["content"].strip() for message in prompt) or not better.strip() or not worse.strip():
        raise _NotUsable("no prompt, or an empty answer")
    if better == worse:
        raise _NotUsable("both answers alike")
    return {"prompt": prompt, "chosen": better, "rejected": worse}


def _answer(told: Any) -> str:
    """The answer's text, however it is wrapped."""
    if isinstance(told, list):
        told = told[-1] if told else None
    if isinstance(told, dict):
        told = told.get("value", told.get("content"))
    return _content(told)


def _pair(prompt: list[Message], fields: Fields) -> Pair:
    return prompt, _answer(fields["chosen"]), _answer(fields["rejected"])


def _prompted(fields: Fields) -> Pair:
    prompt = fields["prompt"]
    return _pair(_messages(prompt) if isinstance(prompt, list) else [_said("user", prompt)], fields)


def _dialogues(fields: Fields) -> Pair:
    """Two dialogues that part at their last answer, as text (HH-RLHF) or as messages."""
    chosen, rejected = (
        _messages(fields[side]) if isinstance(fields[side], list) else _turns(fields[side])
        for side in ("chosen", "rejected")
    )
    if not chosen or chosen[:-1] != rejected[:-1] or chosen[-1]["role"] != "assistant":
        raise _NotUsable("the two part before the last answer")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def _turns(text: str) -> list[Message]:
    parts = TURN.split(text)[1:]
    return [_said(role.lower(), said.strip()) for role, said in zip(parts[::2], parts[1::2], strict=True)]


PREFERENCES: Layouts[Pair] = (
    (("prompt", "chosen", "rejected"), _prompted),
    (("conversations", "chosen", "rejected"), lambda f: _pair(_shared(f), f)),
    (
        ("instruction", "chosen", "rejected"),
        lambda f: _pair([_said("user", _with_input(f["instruction"], f.get("input")))], f),
    ),
    (("chosen", "rejected"), _dialogues),
)
