"""Rendering a conversation into tokens, and which of them are learnt: what the assistant says, and its end of turn.

A template with `{% generation %}` markers tells that itself. For any other, the conversation is rendered again with a
generation prompt, with a placeholder for an answer, and cut off after it: what these texts share with the whole shows
where an answer begins and ends, and what the template writes to end its turn.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from winnow.errors import BadSetting
from winnow.records.chat_template import chat_template
from winnow.records.shapes import ANSWERS, Message, Unusable

PLACEHOLDER = "winnowsanswer"
_MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
TextOf = Callable[..., str]


@dataclass(frozen=True)
class Rendered:
    """A conversation as token ids [n] and the mask of supervised tokens [n]."""

    input_ids: np.ndarray
    supervised: np.ndarray


def render(messages: Sequence[Message], tokenizer: Any, template: str | None = None) -> Rendered:
    """Tokens and loss mask of a conversation; raises `Unusable` where the template refuses it.

    With no ``template`` the tokenizer's own is used, or the default where it has none.
    """
    text, turns = chat_template(template, tokenizer), _turns(messages)
    apply = partial(_apply, tokenizer, text)
    if _MARKER.search(text):
        out = apply(turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        return Rendered(np.asarray(out["input_ids"], np.int32), np.asarray(out["assistant_masks"], bool))
    whole = str(apply(turns, tokenize=False))
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    offsets = np.asarray(encoded["offset_mapping"], np.int64).reshape(-1, 2)
    ids = np.asarray(encoded["input_ids"], np.int32)
    special = offsets[np.isin(ids, special_ids(tokenizer))]
    mask = np.zeros(len(ids), bool)
    for start, end in _answer_spans(turns, whole, special, partial(apply, tokenize=False)):
        mask |= (offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > offsets[:, 0])
    return Rendered(ids, mask)


def prompt_tokens(messages: Sequence[Message], tokenizer: Any, template: str | None = None) -> list[int]:
    """Tokens of a conversation up to where the next answer begins; raises `Unusable` where the template refuses it."""
    text = chat_template(template, tokenizer)
    rendered = _apply(tokenizer, text, _turns(messages), add_generation_prompt=True, tokenize=True, return_dict=True)
    return list(rendered["input_ids"])


def _turns(messages: Sequence[Message]) -> list[Message]:
    return [{"role": _template_role(message["role"]), "content": message["content"]} for message in messages]


def _apply(tokenizer: Any, template: str, turns: Sequence[Message], **options: Any) -> Any:
    try:
        return tokenizer.apply_chat_template(turns, chat_template=template, **options)
    except Exception as error:
        # A template is a program of somebody else: it may raise anything.
        raise Unusable(f"the chat template refuses it: {(str(error).splitlines() or [repr(error)])[0]}") from None


def end_of_turn(tokenizer: Any, template: str | None = None) -> tuple[set[int], str]:
    """What training taught to end an answer with: a special token, or, where there is none, a text."""
    turns: list[Message] = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": PLACEHOLDER}]
    try:
        rendered = render(turns, tokenizer, template)
    except Unusable as error:
        raise BadSetting(f"{error}. Name another as `tokenize.template`, and train with it.") from None
    learnt = rendered.input_ids[rendered.supervised]
    special = learnt[np.isin(learnt, special_ids(tokenizer))]
    if len(special):
        return {int(special[0])}, ""
    return set(), tokenizer.decode(learnt).partition(PLACEHOLDER)[2].rstrip()


def _template_role(role: str) -> str:
    return "assistant" if role in ANSWERS else role


def special_ids(tokenizer: Any) -> list[int]:
    """Tokens that stand for no text; some tokenizers list those of their template as added tokens only."""
    added = [number for number, token in tokenizer.added_tokens_decoder.items() if token.special]
    return [*tokenizer.all_special_ids, *added]


def _answer_spans(turns: Sequence[Message], whole: str, special: np.ndarray, text_of: TextOf) -> list[tuple[int, int]]:
    """Where the answers stand in the rendered text, each with its end of turn."""
    spans = []
    for number, turn in enumerate(turns):
        if turn["role"] == "assistant":
            start, end = _answer_span(turns, number, whole, text_of)
            spans.append((start, _end_of_turn(end, whole, special, text_of(turns[: number + 1]))))
    return spans


def _answer_span(turns: Sequence[Message], number: int, whole: str, text_of: TextOf) -> tuple[int, int]:
    content = turns[number]["content"]
    prompt = text_of(turns[:number], add_generation_prompt=True)
    if whole.startswith(prompt) and (end := _end_of(content, whole, len(prompt))):
        # White space between the prompt and the answer has to be generated as well.
        return len(prompt), end
    marked = text_of([*turns[:number], {**turns[number], "content": PLACEHOLDER}, *turns[number + 1 :]])
    before, found, after = marked.partition(PLACEHOLDER)
    if not found or not whole.startswith(before):
        raise Unusable("the chat template changes an answer's text, so it cannot be found in the rendering")
    end = _end_of(content, whole, len(before)) or len(whole) - len(after)
    if end < len(before) or not whole.endswith(after):
        raise Unusable("the chat template changes an answer's text, so it cannot be found in the rendering")
    return len(before), end


def _end_of(content: str, whole: str, start: int) -> int | None:
    """Where the content ends that begins at ``start``; its outer white space counts where the template keeps it."""
    if whole.startswith(content, start):
        return start + len(content)
    begin = start + len(whole[start:]) - len(whole[start:].lstrip())
    stripped = content.strip()
    return begin + len(stripped) if stripped and whole.startswith(stripped, begin) else None


def _end_of_turn(end: int, whole: str, special: np.ndarray, cut_off: str) -> int:
    """Up to the special token that follows with nothing but white space between; else to the end of the turn's text."""
    own = _length_in_common(whole, cut_off)
    after = special[special[:, 0] >= end]
    if len(after) and not whole[end : after[0, 0]].strip() and (after[0, 1] <= own or own < end):
        return int(after[0, 1])
    return end + len(whole[end:own].rstrip()) if own > end else end


def _length_in_common(one: str, other: str) -> int:
    if one.startswith(other):
        return len(other)
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
