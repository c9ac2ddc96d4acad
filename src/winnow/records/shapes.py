"""Record shapes: OpenAI messages, ShareGPT, Alpaca, pairs, and column maps as LLaMA-Factory's `dataset_info.json` has.

Each shape is a function from a record to messages and the fields it used. What cannot be a conversation raises
`Unusable` with the reason.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from winnow.params import ColumnMap

ROLES = ("system", "user", "assistant", "function_call", "tool")
ANSWERS = ("assistant", "function_call")
PAIRS = (
    ("question", "answer"),
    ("query", "response"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "response"),
    ("input", "target"),
    ("inputs", "targets"),
    ("input", "output"),
    ("source", "target"),
)
_ROLE_NAMES = {
    **{name: name for name in ROLES},
    "developer": "system",
    "function": "tool",
    "observation": "tool",
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}

Message = dict[str, str]
Shaped = tuple[list[Message], set[str]]
Shape = Callable[[Mapping[str, Any]], Shaped]


class Unusable(Exception):
    """A record that is no conversation; the text is the reason in the table of rejects."""


def detect_shape(record: Any) -> str | None:
    """The name of the shape that a record looks like."""
    if not isinstance(record, Mapping):
        return None
    if "messages" in record:
        return "messages"
    if "conversations" in record:
        return "sharegpt"
    if "instruction" in record and "output" in record:
        return "alpaca"
    return "pair" if any(question in record and answer in record for question, answer in PAIRS) else None


def from_messages(record: Mapping[str, Any]) -> Shaped:
    """OpenAI: `messages` of `role` and `content`."""
    turns = _turns(record, "messages")
    return [_message(turn.get("role"), _openai_content(turn)) for turn in turns], {"messages"}


def from_sharegpt(record: Mapping[str, Any]) -> Shaped:
    """ShareGPT: `conversations` of `from` and `value`, and perhaps `system`."""
    turns = _turns(record, "conversations")
    # Some publishers keep the outer name and the inner names of OpenAI.
    named = [(turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) for turn in turns]
    messages = _system(record, "system") + [_message(role, content) for role, content in named]
    return messages, {"conversations", "system"}


def from_alpaca(record: Mapping[str, Any]) -> Shaped:
    """Alpaca: `instruction`, `input`, `output`, and perhaps `system` and `history`."""
    names = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}
    return _alpaca(record, names)


def from_pair(record: Mapping[str, Any]) -> Shaped:
    """A question and an answer under one of the usual pairs of names."""
    for question, answer in PAIRS:
        if question in record and answer in record:
            return _alpaca(record, {"prompt": question, "response": answer, "system": "system"})
    raise Unusable(f"no pair of question and answer among the fields {sorted(map(str, record))[:8]}")


def mapped(column_map: ColumnMap) -> Shape:
    """The shape a column map describes. Naming columns (or tags) leaves every unnamed one empty, as in its trainer."""
    if column_map.formatting == "alpaca":
        usual = {"prompt": "instruction", "query": "input", "response": "output"}
        named = usual if column_map.columns is None else column_map.columns
        return lambda record: _alpaca(record, named)
    outer = "messages" if column_map.formatting == "openai" else "conversations"
    columns = column_map.columns if column_map.columns is not None else {"messages": outer}
    return lambda record: _tagged(record, columns, _tags(column_map))


def _tags(column_map: ColumnMap) -> dict[str, str]:
    if column_map.tags is not None:
        return column_map.tags
    if column_map.formatting == "openai":
        return {"role_tag": "role", "content_tag": "content"}
    return {"role_tag": "from", "content_tag": "value"}


def _tagged(record: Mapping[str, Any], columns: dict[str, str], tags: dict[str, str]) -> Shaped:
    if "messages" not in columns or not {"role_tag", "content_tag"} <= set(tags):
        raise Unusable("the column map names no `messages` column, or no `role_tag` and `content_tag`")
    own = {"user_tag": "user", "assistant_tag": "assistant", "observation_tag": "tool", "system_tag": "system"}
    own["function_tag"] = "function_call"
    roles = {tags[tag]: role for tag, role in own.items() if tag in tags}
    turns = _turns(record, columns["messages"])
    role_of = [turn.get(tags["role_tag"]) for turn in turns]
    messages = [
        _message(roles.get(str(role), role), turn.get(tags["content_tag"]))
        for role, turn in zip(role_of, turns, strict=True)
    ]
    return _system(record, columns.get("system")) + messages, set(columns.values())


def _alpaca(record: Mapping[str, Any], columns: Mapping[str, str]) -> Shaped:
    if not {"prompt", "response"} <= set(columns):
        raise Unusable("the column map names no `prompt` or no `response`")
    question = _text(record.get(columns["prompt"]), columns["prompt"])
    more = record.get(columns["query"]) if "query" in columns else None
    if more not in (None, ""):
        question = f"{question}\n{_text(more, columns['query'])}" if question else _text(more, columns["query"])
    earlier = _history(record.get(columns["history"])) if "history" in columns else []
    answer = _text(record.get(columns["response"]), columns["response"])
    last = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return _system(record, columns.get("system")) + earlier + last, set(columns.values())


def _history(value: Any) -> list[Message]:
    messages = []
    for pair in value or []:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Unusable("`history` holds something else than pairs of question and answer")
        messages += [
            {"role": "user", "content": _text(pair[0], "history")},
            {"role": "assistant", "content": _text(pair[1], "history")},
        ]
    return messages


def _system(record: Mapping[str, Any], column: str | None) -> list[Message]:
    value = record.get(column) if column else None
    return [{"role": "system", "content": _text(value, str(column))}] if value not in (None, "") else []


def _turns(record: Mapping[str, Any], column: str) -> list[Mapping[str, Any]]:
    turns = record.get(column)
    if not isinstance(turns, (list, tuple)):
        raise Unusable(f"`{column}` is {_kind(turns)}, not a list of turns")
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise Unusable(f"a turn of `{column}` is {_kind(turn)}, not an object")
    return list(turns)


def _message(role: Any, content: Any) -> Message:
    known = _ROLE_NAMES.get(role) if isinstance(role, str) else None
    if known is None:
        raise Unusable(f"unknown role {str(role)[:40]!r} (known are {', '.join(ROLES)}; map others with `tags`)")
    return {"role": known, "content": _text(content, f"content of {known}")}


def _openai_content(turn: Mapping[str, Any]) -> Any:
    """Text, or text parts joined; an assistant turn that only calls tools says so as JSON."""
    content = turn.get("content")
    if isinstance(content, (list, tuple)) and all(isinstance(part, Mapping) and "text" in part for part in content):
        return "".join(str(part["text"]) for part in content)
    if content is None and turn.get("tool_calls"):
        return json.dumps(turn["tool_calls"], ensure_ascii=False, default=str)
    return content


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Unusable(f"`{name}` is {_kind(value)}, not text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Unusable(f"`{name}` holds half of a surrogate pair, which no UTF-8 file can hold")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"


SHAPES: dict[str, Shape] = {
    "messages": from_messages,
    "sharegpt": from_sharegpt,
    "alpaca": from_alpaca,
    "pair": from_pair,
}
