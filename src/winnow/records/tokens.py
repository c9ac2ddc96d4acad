"""Tokens of the training and validation rows: made once, read memory-mapped by every trainer.

Rows that the tokenizer leaves nothing to supervise (the answer was truncated away, the template refuses the turns) are
listed in the table `unusable`, and are never scored nor selected.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from winnow.records.shapes import Message, Unusable
from winnow.records.template import Rendered, render
from winnow.stages import Work, table_fingerprint

SHARD_ROWS = 2000
TOKENS = pa.schema(
    [("example_id", pa.string()), ("input_ids", pa.list_(pa.int32())), ("supervised", pa.list_(pa.bool_()))]
)
LENGTHS = {
    "example_id": pl.String,
    "split": pl.String,
    "subset": pl.String,
    "n_tokens": pl.Int64,
    "n_supervised": pl.Int64,
}
UNUSABLE = {"example_id": pl.String, "split": pl.String, "reason": pl.String}


@dataclass(frozen=True)
class TokenRow:
    """One example, ready to be trained on: ids [n] int32 and the mask of supervised tokens [n]."""

    example_id: str
    input_ids: np.ndarray
    supervised: np.ndarray


class TokenTable:
    """Memory-mapped tokens of one split."""

    def __init__(self, shards: Sequence[pa.RecordBatch]) -> None:
        self.ids: list[str] = []
        self._place: dict[str, tuple[int, int]] = {}
        self._columns = [(_Lists(shard.column("input_ids")), _Lists(shard.column("supervised"))) for shard in shards]
        for number, shard in enumerate(shards):
            names = shard.column("example_id").to_pylist()
            self.ids += names
            self._place.update({name: (number, row) for row, name in enumerate(names)})

    @classmethod
    def open(cls, folder: Path, split: str) -> "TokenTable":
        """Map the shards of ``split`` in a finished tokens directory."""
        return cls._of_files(sorted(folder.glob(f"{split}-*.arrow")))

    @classmethod
    def open_around(cls, folder: Path, example_id: str) -> "TokenTable":
        """Map the one shard that holds this example; no table of all ids is made."""
        lengths = pl.scan_parquet(folder / "parts" / "lengths-*.parquet", include_file_paths="part")
        own = lengths.filter(pl.col("example_id") == example_id).select("part").collect()["part"]
        return cls._of_files([folder / f"{Path(part).stem.removeprefix('lengths-')}.arrow" for part in own])

    @classmethod
    def _of_files(cls, shards: Sequence[Path]) -> "TokenTable":
        files = [pa.ipc.open_file(pa.memory_map(str(shard))) for shard in shards]
        return cls([file.get_batch(number) for file in files for number in range(file.num_record_batches)])

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, example_ids: Sequence[str]) -> list[TokenRow]:
        """The rows of these examples, in this order; only their own pages are read."""
        found = []
        for name in example_ids:
            shard, row = self._place[name]
            ids, mask = self._columns[shard]
            found.append(TokenRow(name, ids.at(row), mask.at(row)))
        return found


class _Lists:
    """A column of lists, sliced without a copy of the rest."""

    def __init__(self, column: pa.ListArray) -> None:
        self.values = column.values
        self.offsets = column.offsets.to_numpy()

    def at(self, row: int) -> np.ndarray:
        """The list of one row."""
        start, stop = int(self.offsets[row]), int(self.offsets[row + 1])
        return np.asarray(self.values.slice(start, stop - start).to_numpy(zero_copy_only=False))


def truncated(messages: Sequence[Message], tokenizer: Any, template: str | None, max_length: int) -> Rendered:
    """Render, cut at ``max_length``, and refuse what has nothing left to learn."""
    rendered = render(messages, tokenizer, template)
    kept = Rendered(rendered.input_ids[:max_length], rendered.supervised[:max_length])
    if not rendered.supervised.any():
        raise Unusable("the chat template leaves nothing to supervise")
    if not kept.supervised.any():
        raise Unusable(f"the answer begins after {max_length} tokens (`tokenize.max_length`)")
    return kept


def write_tokens(
    work: Work,
    tables: dict[str, pl.LazyFrame],
    encode: Callable[[Sequence[Message]], Rendered],
    report: Callable[[int, str], None],
) -> dict[str, dict[str, Any]]:
    """Tokenize every split in shards of `SHARD_ROWS`; returns the summary's tables."""
    for split, table in tables.items():
        for number, rows in enumerate(shards_of(table)):
            _write_shard(work, f"{split}-{number:05}", split, rows, encode)
            report(min(SHARD_ROWS, len(rows)), split)
    return {
        "lengths": _collect(work, "lengths", LENGTHS),
        "unusable": _collect(work, "unusable", UNUSABLE),
    }


def shards_of(table: pl.LazyFrame) -> Iterator[list[dict[str, Any]]]:
    """Exactly `SHARD_ROWS` rows at a time, however the reader cuts its batches: a resumed run meets the same shards."""
    waiting: list[dict[str, Any]] = []
    columns = table.select("example_id", "subset", "messages")
    for batch in columns.collect_batches(chunk_size=SHARD_ROWS, maintain_order=True):
        waiting += batch.to_dicts()
        while len(waiting) >= SHARD_ROWS:
            yield waiting[:SHARD_ROWS]
            waiting = waiting[SHARD_ROWS:]
    if waiting:
        yield waiting


def _write_shard(
    work: Work, name: str, split: str, rows: list[dict[str, Any]], encode: Callable[[Sequence[Message]], Rendered]
) -> None:
    files = [f"{name}.arrow", f"parts/lengths-{name}.parquet", f"parts/unusable-{name}.parquet"]
    if all(work.is_committed(file) for file in files):
        return
    tokens, lengths, unusable = [], [], []
    for row in rows:
        try:
            rendered = encode(row["messages"])
        except Unusable as reason:
            unusable.append({"example_id": row["example_id"], "split": split, "reason": str(reason)})
            continue
        ids, mask = rendered.input_ids, rendered.supervised
        tokens.append({"example_id": row["example_id"], "input_ids": ids, "supervised": mask})
        counts = {"n_tokens": len(ids), "n_supervised": int(mask.sum())}
        lengths.append({"example_id": row["example_id"], "split": split, "subset": row["subset"], **counts})
    work.commit(files[0], lambda path: _write_arrow(path, tokens))
    work.commit(files[1], pl.DataFrame(lengths, schema=LENGTHS).write_parquet)
    work.commit(files[2], pl.DataFrame(unusable, schema=UNUSABLE).write_parquet)


def _write_arrow(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with pa.ipc.new_file(str(path), TOKENS) as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=TOKENS))


def _collect(work: Work, table: str, schema: dict[str, Any]) -> dict[str, Any]:
    parts = sorted((work.path / "parts").glob(f"{table}-*.parquet"))
    frame = pl.concat([pl.DataFrame(schema=schema), *(pl.read_parquet(part) for part in parts)])
    work.commit(f"{table}.parquet", frame.write_parquet)
    return {"file": f"{table}.parquet", "rows": frame.height, "fingerprint": table_fingerprint(frame.iter_rows())}
