"""The rows at both ends of a ranking, with the beginning of their text."""

import pandas as pd
import polars as pl

from winnow.records.shapes import Message

SHOWN = 5
EXCERPT = 300


def both_ends(rows: int) -> list[int]:
    """The first and the last places of a ranking, each once."""
    return [*range(min(SHOWN, rows)), *range(max(SHOWN, rows - SHOWN), rows)]


def with_text(table: pl.DataFrame, train: pl.LazyFrame) -> pd.DataFrame:
    """A few rows with the column ``text``: the beginning of each of their messages."""
    chosen = train.filter(pl.col("example_id").is_in(table["example_id"].unique().to_list()))
    texts = chosen.select("example_id", "messages").collect().iter_rows()
    found = {name: _excerpt(messages) for name, messages in texts}
    text = [found.get(name, "") for name in table["example_id"]]
    return table.with_columns(pl.Series("text", text, pl.String)).to_pandas()


def _excerpt(messages: list[Message]) -> str:
    parts = [f"{message['role']}: {message['content']}" for message in messages]
    return " | ".join(part if len(part) <= EXCERPT else part[:EXCERPT] + " ..." for part in parts)
