"""Held-out conversations as questions: the tokens before the last answer, and the answer's own with its end of turn."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from winnow.errors import NothingToTrainOn
from winnow.records.shapes import Unusable
from winnow.records.template import Rendered, render


@dataclass(frozen=True)
class Question:
    """One example to answer."""

    example_id: str
    domain: str
    context: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.context) + len(self.answer)


def ask(
    table: pl.LazyFrame, tokenizer: Any, template: str | None, max_length: int, limit: int | None
) -> tuple[list[Question], int]:
    """Questions of a split, longest first, and how many rows cannot be asked.

    With a limit, the same random rows of each domain every time.
    """
    questions, unusable = [], 0
    for row in _rows(table, limit):
        try:
            context, answer = last_answer(render(row["messages"], tokenizer, template), max_length)
        except Unusable:
            unusable += 1
            continue
        questions.append(Question(row["example_id"], row["subset"], context, answer))
    if not questions:
        raise NothingToTrainOn(
            f"There is no question to evaluate: the split has {unusable} rows, and none has an answer within "
            "`tokenize.max_length`. Look at `split` (shares, `held_out_from`)."
        )
    questions.sort(key=lambda question: (-question.length, question.example_id))
    return questions, unusable


def last_answer(rendered: Rendered, max_length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens before the last answer, and the answer's own, cut at ``max_length``."""
    if not rendered.supervised.any():
        raise Unusable("the chat template leaves nothing to answer")
    end = int(np.flatnonzero(rendered.supervised)[-1]) + 1
    start = int(np.flatnonzero(np.append(True, ~rendered.supervised[:end]))[-1])
    if not 0 < start < max_length:
        raise Unusable(f"the last answer begins at token {start}, outside of 1 to {max_length - 1}")
    ids = rendered.input_ids.tolist()
    return tuple(ids[:start]), tuple(ids[start : min(end, max_length)])


def _rows(table: pl.LazyFrame, limit: int | None) -> Sequence[dict[str, Any]]:
    rows = table.select("example_id", "subset", "messages").collect(engine="streaming").to_dicts()
    if limit is None:
        return rows
    rows.sort(key=lambda row: hashlib.sha256(row["example_id"].encode()).hexdigest())
    kept: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kept.setdefault(row["subset"], []).append(row)
    return [row for domain in kept.values() for row in domain[:limit]]
