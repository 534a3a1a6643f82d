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
from typing import Any

from forja.corpus.rows import Row, read_rows
from forja.errors import ForjaError

Message = dict[str, str]

TEXTS = ("text", "sentence", "content", "body", "message", "sms", "url", "mail", "email", "prompt", "comment", "review")
LABELS = ("label", "labels", "class", "target", "category", "type", "is_spam", "spam", "phishing")
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
SHORT = 200
"""Characters up to which a further column may name a group."""
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
    """What was read: the examples, and how many rows were left out for which reason."""

    examples: list[Example]
    left_out: Counter[str]


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
                make = _maker(kind, row.fields, path, name, text_field, label_field)
            try:
                read.examples.append(make(row))
            except _NotUsable as reason:
                read.left_out[str(reason)] += 1
        if make is None:
            raise ForjaError("the file holds no rows.", where=str(path))
    return read


def _maker(
    kind: str, fields: Mapping[str, Any], path: Path, name: str, text_field: str | None, label_field: str | None
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
    layouts = CHATS if kind == "chat" else PREFERENCES
    for needed, read in layouts:
        if all(key in fields for key in needed):
            return lambda row: _placed(read, row, kind, path, name)
    known = "; ".join(" and ".join(needed) for needed, _ in layouts)
    raise ForjaError(
        f"its columns ({', '.join(fields)}) are no layout of {kind} examples.",
        where=str(path),
        fix=f"Columns may be: {known}.",
    )


def _column(fields: Mapping[str, Any], names: Iterable[str], asked: str | None, path: Path, what: str) -> str:
    """The column that holds the text, or the label: the one asked for, or the first of the usual names."""
    if asked is not None:
        if asked not in fields:
            raise ForjaError(
                f"there is no column {asked!r}; there are {', '.join(fields)}.",
                where=str(path),
                fix=f"Set examples.{what}_field to one of them.",
            )
        return asked
    by_name = {key.strip().lower(): key for key in fields}
    found = next((by_name[name] for name in names if name in by_name), None)
    if found is None:
        missing = "labels are missing" if what == "label" else "no column holds the text"
        raise ForjaError(
            f"{missing}: the columns are {', '.join(fields)}.",
            where=str(path),
            fix=f"Name the column `{what}`, or set examples.{what}_field to its name.",
        )
    return found


# --- labelled and plain texts ------------------------------------------------------------------


def _classified(row: Row, text: str, label: str, path: Path, name: str) -> Example:
    said, aim = row.fields[text], row.fields[label]
    if aim is None or not str(aim).strip():
        raise ForjaError(
            "the label is missing.", where=f"{path}, row {row.number}", fix="Give every row its label, or drop it."
        )
    if said is None or not str(said).strip():
        raise _NotUsable("empty")
    whole = with_subject(str(said), row.fields)
    return Example(
        id=_identity(whole, label_name(aim)),
        text=whole,
        label=label_name(aim),
        source=str(row.fields.get("source") or name),
        groups=_groups(row.fields, {text, label}),
    )


def label_name(value: Any) -> str:
    """A label as it is written: 1, 1.0 and "1" are one label, and so are true and True."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    said = str(value).strip()
    return said[:-2] if re.fullmatch(r"-?\d+\.0", said) else said


def with_subject(text: str, fields: Mapping[str, Any]) -> str:
    """A mail with its subject first, where the text does not hold it yet."""
    subject = str(fields.get("subject") or "").strip()
    if not subject or " ".join(subject.split()) in " ".join(text[: len(subject) + 200].split()):
        return text
    return f"Subject: {subject}\n{text}"


def _plain(row: Row, column: str, path: Path, name: str) -> Example:
    said = row.fields[column]
    if said is None or not str(said).strip():
        raise _NotUsable("empty")
    return Example(id=_identity(str(said)), text=str(said), source=str(row.fields.get("source") or name))


def _groups(fields: Mapping[str, Any], apart: set[str]) -> dict[str, str]:
    return {
        key: str(value)
        for key, value in fields.items()
        if key not in apart and value is not None and not isinstance(value, dict | list) and len(str(value)) <= SHORT
    }


def _identity(*parts: Any) -> str:
    """32 hexadecimal digits that depend on what the example says alone."""
    said = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


# --- conversations -----------------------------------------------------------------------------


def _placed(read: Callable[[Mapping[str, Any]], dict[str, Any]], row: Row, kind: str, path: Path, name: str) -> Example:
    try:
        parts = read(row.fields)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ForjaError(
            f"the row is not laid out as the others are ({type(error).__name__}: {error}).",
            where=f"{path}, row {row.number}",
        ) from None
    source = str(row.fields.get("source") or name)
    return Example(id=_identity(kind, parts), source=source, **parts)


def _said(role: Any, content: Any) -> Message:
    named = ROLES.get(str(role), str(role))
    if named not in ("system", "user", "assistant"):
        raise _NotUsable("unknown role")
    return {"role": named, "content": "" if content is None else str(content)}


def _conversation(messages: list[Message]) -> dict[str, Any]:
    """A conversation that ends in an answer: what follows the last one teaches nothing."""
    while messages and messages[-1]["role"] != "assistant":
        messages = messages[:-1]
    if not messages or not any(message["role"] == "user" and message["content"].strip() for message in messages):
        raise _NotUsable("no question with an answer")
    if not messages[-1]["content"].strip():
        raise _NotUsable("empty answer")
    return {"messages": messages}


def _exchange(question: str, answer: Any, system: Any = None) -> dict[str, Any]:
    first = [_said("system", system)] if system else []
    return _conversation([*first, _said("user", question), _said("assistant", answer)])


def _with_input(instruction: Any, given: Any) -> str:
    return f"{instruction}\n\n{given}" if given and str(given).strip() else str(instruction)


def _messages(fields: Mapping[str, Any]) -> list[Message]:
    told = fields["messages"]
    told = json.loads(told) if isinstance(told, str) else told
    return [_said(one["role"], one["content"]) for one in told]


def _shared(fields: Mapping[str, Any]) -> list[Message]:
    told = fields["conversations"]
    told = json.loads(told) if isinstance(told, str) else told
    first = [_said("system", fields["system"])] if fields.get("system") else []
    return first + [_said(one.get("from", one.get("role")), one.get("value", one.get("content"))) for one in told]


def _seed_task(fields: Mapping[str, Any]) -> dict[str, Any]:
    first = fields["instances"][0]
    return _exchange(_with_input(fields["instruction"], first.get("input")), first.get("output"))


Reader = Callable[[Mapping[str, Any]], dict[str, Any]]
CHATS: tuple[tuple[tuple[str, ...], Reader], ...] = (
    (("messages",), lambda fields: _conversation(_messages(fields))),
    (("conversations",), lambda fields: _conversation(_shared(fields))),
    (("instruction", "instances"), _seed_task),
    (
        ("instruction", "output"),
        lambda f: _exchange(_with_input(f["instruction"], f.get("input")), f["output"], f.get("system")),
    ),
    (("instruction", "response"), lambda f: _exchange(_with_input(f["instruction"], f.get("context")), f["response"])),
    (("prompt", "completion"), lambda f: _exchange(str(f["prompt"]), f["completion"])),
    (("prompt", "response"), lambda f: _exchange(str(f["prompt"]), f["response"])),
    (("question", "answer"), lambda f: _exchange(_with_input(f["question"], f.get("context")), f["answer"])),
)


# --- preferences -------------------------------------------------------------------------------


def _preference(prompt: list[Message], chosen: Any, rejected: Any) -> dict[str, Any]:
    better, worse = _answer(chosen), _answer(rejected)
    if not prompt or not better.strip() or not worse.strip():
        raise _NotUsable("no prompt, or an empty answer")
    if better == worse:
        raise _NotUsable("both answers alike")
    return {"prompt": prompt, "chosen": better, "rejected": worse}


def _answer(told: Any) -> str:
    """The answer's text, however it is wrapped."""
    if isinstance(told, list):
        told = told[-1]
    if isinstance(told, dict):
        told = told.get("value", told.get("content"))
    return "" if told is None else str(told)


def _prompted(fields: Mapping[str, Any]) -> dict[str, Any]:
    prompt = fields["prompt"]
    messages = [_said(one["role"], one["content"]) for one in prompt] if isinstance(prompt, list) else None
    return _preference(messages or [_said("user", prompt)], fields["chosen"], fields["rejected"])


def _dialogues(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Two dialogues that part at their last answer, as text (HH-RLHF) or as messages."""
    if isinstance(fields["chosen"], list):
        prompt = [_said(one["role"], one["content"]) for one in fields["chosen"][:-1]]
        return _preference(prompt, fields["chosen"], fields["rejected"])
    chosen, rejected = (_turns(fields[side]) for side in ("chosen", "rejected"))
    if not chosen or chosen[:-1] != rejected[:-1] or chosen[-1]["role"] != "assistant":
        raise _NotUsable("the two part before the last answer")
    return _preference(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"])


def _turns(text: str) -> list[Message]:
    parts = TURN.split(text)[1:]
    return [_said(role.lower(), said.strip()) for role, said in zip(parts[::2], parts[1::2], strict=True)]


PREFERENCES: tuple[tuple[tuple[str, ...], Reader], ...] = (
    (("prompt", "chosen", "rejected"), _prompted),
    (("conversations", "chosen", "rejected"), lambda f: _preference(_shared(f), f["chosen"], f["rejected"])),
    (
        ("instruction", "chosen", "rejected"),
        lambda f: _preference(
            [_said("user", _with_input(f["instruction"], f.get("input")))], f["chosen"], f["rejected"]
        ),
    ),
    (("chosen", "rejected"), _dialogues),
)
