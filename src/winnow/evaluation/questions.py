"""Held-out conversations as questions: the tokens before the last answer, and the answer's own with its end of turn."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from winnow.errors import NothingToTrainOn
from winnow.records.shapes import Unusable
from winnow.records.tokens import truncated


@dataclass(frozen=True)
class Question:
    """One example to answer."""

    example_id: str
    domain: str
    context: tuple[int, ...]
    answer: tuple[int, ...]


def ask(
    table: pl.LazyFrame, tokenizer: Any, template: str | None, max_length: int, limit: int | None
) -> list[Question]:
    """Questions of a split, longest first; with a limit, the same random rows of each domain every time."""
    questions = []
    for row in _rows(table, limit):
        try:
            rendered = truncated(row["messages"], tokenizer, template, max_length)
        except Unusable:
            continue
        ids, mask = rendered.input_ids.tolist(), rendered.supervised.tolist()
        end = len(mask) - mask[::-1].index(True)
        start = end - [*mask[:end][::-1], False].index(False)
        if start > 0:
            context, answer = tuple(ids[:start]), tuple(ids[start:end])
            questions.append(Question(row["example_id"], row["subset"], context, answer))
    if not questions:
        raise NothingToTrainOn(
            "There is no question to evaluate: the split is empty, or no row has an answer within "
            "`tokenize.max_length`. Look at `split` (shares, `held_out_from`)."
        )
    return sorted(questions, key=lambda question: (-len(question.context) - len(question.answer), question.example_id))


def _rows(table: pl.LazyFrame, limit: int | None) -> Sequence[dict[str, Any]]:
    rows = table.select("example_id", "subset", "messages").collect(engine="streaming").to_dicts()
    if limit is None:
        return rows
    rows.sort(key=lambda row: hashlib.sha256(row["example_id"].encode()).hexdigest())
    kept: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kept.setdefault(row["subset"], []).append(row)
    return [row for domain in kept.values() for row in domain[:limit]]
