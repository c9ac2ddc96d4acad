"""From a record to an example: messages that can be trained on, the record's other fields, and its hashes."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.records.raw import to_json
from winnow.records.shapes import ANSWERS, Message, Shape, Unusable

HASH_LENGTH = 32
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Conversation:
    """A usable record."""

    messages: list[Message]
    extra: str | None
    prompt_hash: str
    content_hash: str


def converse(record: Mapping[str, Any], shape: Shape) -> Conversation:
    """Read a record by its shape; raises `Unusable` with the reason where it cannot be trained on."""
    messages, used = shape(record)
    check_turns(messages)
    others = {str(name): value for name, value in record.items() if name not in used and value is not None}
    try:
        extra = to_json(others) if others else None
    except (RecursionError, ValueError):
        raise Unusable("a field beside the conversation cannot be kept: it is nested too deeply") from None
    return Conversation(messages, extra, prompt_hash(messages), content_hash(messages))


def check_turns(messages: Sequence[Message]) -> None:
    """A conversation begins with the user (system messages aside) and has an answer with text in it."""
    turns = [message for message in messages if message["role"] != "system"]
    answers = [message for message in turns if message["role"] in ANSWERS]
    if not answers:
        raise Unusable("no assistant turn")
    if turns[0]["role"] != "user":
        raise Unusable(f"the conversation starts with the {turns[0]['role'].replace('_', ' ')}, not with the user")
    if not any(answer["content"].strip() for answer in answers):
        raise Unusable("every assistant turn is empty")


def prompt_hash(messages: Sequence[Message]) -> str:
    """Hash of all before the last answer, blind to white space: it decides the side of the split."""
    last = max(number for number, message in enumerate(messages) if message["role"] in ANSWERS)
    return _digest(
        [(m["role"], _SPACE.sub(" ", unicodedata.normalize("NFC", m["content"])).strip()) for m in messages[:last]]
    )


def content_hash(messages: Sequence[Message]) -> str:
    """Hash of the whole conversation, exact to the character: it decides what is a duplicate."""
    return _digest([(message["role"], message["content"]) for message in messages])


def _digest(turns: list[tuple[str, str]]) -> str:
    text = json.dumps(turns, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
