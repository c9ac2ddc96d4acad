"""Chosen rows as lines of JSON: their messages are sought in a pass over the table, which is never whole in memory."""

from collections.abc import Collection, Iterable
from pathlib import Path

import polars as pl

from winnow.records.raw import to_json
from winnow.records.shapes import Message

BATCH_ROWS = 2000


def messages_of(train: pl.LazyFrame, wanted: Collection[str]) -> dict[str, list[Message]]:
    """The messages of these rows, by example_id."""
    ids = list(wanted)
    found: dict[str, list[Message]] = {}
    for batch in train.select("example_id", "messages").collect_batches(chunk_size=BATCH_ROWS):
        found.update(batch.filter(pl.col("example_id").is_in(ids)).iter_rows())
    return found


def write_lines(path: Path, lines: Iterable[dict[str, object]]) -> None:
    """One object a line."""
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(to_json(line) + "\n")
