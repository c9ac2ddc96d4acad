"""Record shapes: OpenAI messages, ShareGPT, Alpaca, pairs, and column maps as LLaMA-Factory's `dataset_info.json` has.

Each shape is a function from a record to messages and the fields it used. What cannot be a conversation raises
`Unusable` with the reason.
"""

from collections.abc import Callable, Mapping
from typing import Any

from winnow.errors import BadSetting
from winnow.params import ColumnMap
from winnow.records.raw import is_text, to_json

ROLES = ("system", "user", "assistant", "function_call", "tool")
ANSWERS = ("assistant", "function_call")
PAIRS = (
    ("question", "answer"),
    ("problem", "solution"),
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
    messages: list[Message] = []
    for turn in _turns(record, "messages"):
        calls = turn.get("tool_calls")
        content = _openai_content(turn)
        if content not in (None, "") or not calls:
            messages.append(_message(turn.get("role"), content))
        if calls:
            messages.append(_message("function_call", to_json(calls)))
    return messages, {"messages"}


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
        # A question may be in either of the two, or begin in the one and go on in the other.
        _require(column_map, named, ("response",) if "query" in named else ("prompt", "response"), "columns")
        return lambda record: _alpaca(record, named)
    outer = "messages" if column_map.formatting == "openai" else "conversations"
    columns = {"messages": outer} if column_map.columns is None else column_map.columns
    tags = _USUAL_TAGS[column_map.formatting] if column_map.tags is None else column_map.tags
    _require(column_map, columns, ("messages",), "columns")
    _require(column_map, tags, ("role_tag", "content_tag"), "tags")
    roles = {tags[tag]: role for tag, role in _ROLE_TAGS.items() if tag in tags}
    if column_map.tags is None:
        roles = {**_ROLE_NAMES, **roles}
    return lambda record: _tagged(record, columns, tags, roles)


def _require(column_map: ColumnMap, named: Mapping[str, str], needed: tuple[str, ...], what: str) -> None:
    missing = [name for name in needed if name not in named]
    if missing:
        raise BadSetting(
            f"A column map of `ingest.shapes` with formatting {column_map.formatting!r} names the {what} "
            f"{sorted(named)}, and so leaves {', '.join(missing)} empty: naming some {what} resets all others. "
            f"Name {', '.join(missing)} too."
        )


_ROLE_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
_USUAL_TAGS = {
    "openai": {"role_tag": "role", "content_tag": "content"},
    "sharegpt": {"role_tag": "from", "content_tag": "value"},
}


def _tagged(
    record: Mapping[str, Any], columns: Mapping[str, str], tags: Mapping[str, str], roles: Mapping[str, str]
) -> Shaped:
    messages = _system(record, columns.get("system"))
    for turn in _turns(record, columns["messages"]):
        role = turn.get(tags["role_tag"])
        if not isinstance(role, str) or role not in roles:
            raise Unusable(f"unknown role {str(role)[:40]!r} (the column map knows {', '.join(roles) or 'none'})")
        messages.append({"role": roles[role], "content": _text(turn.get(tags["content_tag"]), f"content of {role}")})
    return messages, {columns[name] for name in ("messages", "system") if name in columns}


def _alpaca(record: Mapping[str, Any], columns: Mapping[str, str]) -> Shaped:
    question = _text(record.get(columns["prompt"]), columns["prompt"]) if "prompt" in columns else ""
    more = record.get(columns["query"]) if "query" in columns else None
    if more not in (None, ""):
        question = f"{question}\n{_text(more, columns['query'])}" if question else _text(more, columns["query"])
    earlier = _history(record.get(columns["history"])) if "history" in columns else []
    answer = _text(record.get(columns["response"]), columns["response"])
    last = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return _system(record, columns.get("system")) + earlier + last, set(columns.values())


def _history(value: Any) -> list[Message]:
    messages = []
    if value not in (None, "") and not isinstance(value, (list, tuple)):
        raise Unusable(f"`history` is {_kind(value)}, not a list of pairs")
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
    """Text, or text parts joined."""
    content = turn.get("content")
    if isinstance(content, (list, tuple)) and all(isinstance(part, Mapping) and "text" in part for part in content):
        return "".join(_text(part["text"], "text of a part") for part in content)
    return content


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Unusable(f"`{name}` is {_kind(value)}, not text")
    if not is_text(value):
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
