"""Rendering a conversation into tokens, and which of them are learnt: what the assistant says, and its end of turn.

A template with `{% generation %}` markers tells that itself. For any other, growing prefixes of the conversation are
rendered: what an answer adds to the text before it is learnt, up to the special token that ends the turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.records.shapes import ANSWERS, Message, Unusable


@dataclass(frozen=True)
class Rendered:
    """A conversation as token ids [n] and the mask of supervised tokens [n]."""

    input_ids: np.ndarray
    supervised: np.ndarray


def render(messages: Sequence[Message], tokenizer: Any, template: str | None = None) -> Rendered:
    """Tokens and loss mask of a conversation; raises `Unusable` where the template refuses it."""
    template = template or tokenizer.chat_template
    turns = [{"role": _template_role(message["role"]), "content": message["content"]} for message in messages]
    if not template:
        raise Unusable("the tokenizer has no chat template (give one as `tokenize.template`)")
    try:
        if "{% generation" in template or "{%- generation" in template:
            return _by_markers(turns, tokenizer, template)
        return _by_prefixes(turns, tokenizer, template)
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(
            f"the chat template refuses it: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None


def _template_role(role: str) -> str:
    return "assistant" if role in ANSWERS else role


def _by_markers(turns: list[Message], tokenizer: Any, template: str) -> Rendered:
    out = tokenizer.apply_chat_template(
        turns, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return Rendered(np.asarray(out["input_ids"], np.int32), np.asarray(out["assistant_masks"], bool))


def _by_prefixes(turns: list[Message], tokenizer: Any, template: str) -> Rendered:
    def text_of(count: int, prompt: bool = False) -> str:
        return str(
            tokenizer.apply_chat_template(
                turns[:count], chat_template=template, tokenize=False, add_generation_prompt=prompt
            )
        )

    whole = text_of(len(turns))
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    offsets = np.asarray(encoded["offset_mapping"]).reshape(-1, 2)
    ids = np.asarray(encoded["input_ids"], np.int32)
    special = np.isin(ids, tokenizer.all_special_ids)
    mask = np.zeros(len(ids), bool)
    position = 0
    for number, turn in enumerate(turns):
        if turn["role"] == "assistant":
            start, end = _span(whole, position, turn["content"], text_of(number, prompt=True))
            position = end
            inside = (offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > offsets[:, 0])
            mask |= inside | _end_of_turn(offsets, special, whole, end)
        else:
            found = whole.find(turn["content"].strip(), position)
            position = found + len(turn["content"].strip()) if found >= 0 else position
    return Rendered(ids, mask)


def _span(whole: str, position: int, content: str, before: str) -> tuple[int, int]:
    """Where an answer stands in the rendered text; its own white space counts only where the template keeps it."""
    if whole.startswith(before) and whole.startswith(content, len(before)):
        return len(before), len(before) + len(content)
    stripped = content.strip()
    start = whole.find(stripped, len(before.rstrip()) if whole.startswith(before.rstrip()) else position)
    if start < 0:
        raise Unusable("the chat template changes an answer's text, so it cannot be found in the rendering")
    return start, start + len(stripped)


def _end_of_turn(offsets: np.ndarray, special: np.ndarray, whole: str, end: int) -> np.ndarray:
    """The special token that follows an answer with nothing but white space between."""
    mask = np.zeros(len(offsets), bool)
    after = np.flatnonzero(special & (offsets[:, 0] >= end))
    if len(after) and not whole[end : offsets[after[0], 0]].strip():
        mask[after[0]] = True
    return mask
