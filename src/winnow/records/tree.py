"""Files of the split, in the folders, formats and shapes of the raw data.

`train/<subset>/<file>`, `validation_cluster/<subset>/<file>` mirror the raw files; `validation/<subset>` and
`evaluation/<subset>` merge a subset's files. Records are written as they were read, with all their fields.
"""

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from winnow.params import IngestParams
from winnow.records.files import READERS
from winnow.records.ingest import shaped_records, subset_of
from winnow.splits import HELD_OUT, TRAIN, VALIDATION

FLUSH_ROWS = 1000


class RecordWriter:
    """Appends raw records to one file; its kind is the kind of its name, and the file appears with the first record."""

    def __init__(self, path: Path, like: Path | None = None) -> None:
        self.path = path
        self.like = like
        self.rows: list[Any] = []
        self.count = 0
        self.file: Any = None

    def add(self, record: Any) -> None:
        """Append a record; it may be written later."""
        self.rows.append(record)
        if len(self.rows) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self.rows:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _WRITE[self.path.suffix.lower()](self)
            self.count += len(self.rows)
        self.rows = []

    def close(self) -> None:
        """Write the rest and close the file."""
        self.flush()
        if self.file is not None:
            if self.path.suffix.lower() == ".json":
                self.file.write("\n]\n")
            self.file.close()

    def text(self) -> Any:
        """The open text file."""
        if self.file is None:
            self.file = self.path.open("w", encoding="utf-8", newline="")
        return self.file


def _write_jsonl(writer: RecordWriter) -> None:
    file = writer.text()
    for row in writer.rows:
        file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _write_json(writer: RecordWriter) -> None:
    file = writer.text()
    for number, row in enumerate(writer.rows):
        file.write("[\n" if writer.count + number == 0 else ",\n")
        file.write(json.dumps(row, ensure_ascii=False, default=str))


def _write_csv(writer: RecordWriter) -> None:
    _write_cells(writer, csv.writer(writer.text()))


def _write_tsv(writer: RecordWriter) -> None:
    options: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None, "lineterminator": "\n"}
    _write_cells(writer, csv.writer(writer.text(), **options))


def _write_cells(writer: RecordWriter, target: Any) -> None:
    names = list(writer.rows[0])
    if not writer.count and not all(name.isdigit() for name in names):
        target.writerow(names)
    target.writerows(row.values() for row in writer.rows)


def _write_parquet(writer: RecordWriter) -> None:
    assert writer.like is not None
    schema = pq.read_schema(writer.like)
    if writer.file is None:
        writer.file = pq.ParquetWriter(writer.path, schema)
    writer.file.write_table(pa.Table.from_pylist(writer.rows, schema=schema))


def _write_arrow(writer: RecordWriter) -> None:
    assert writer.like is not None
    with pa.memory_map(str(writer.like)) as source:
        try:
            schema = pa.ipc.open_file(source).schema
        except pa.ArrowInvalid:
            source.seek(0)
            schema = pa.ipc.open_stream(source).schema
    if writer.file is None:
        writer.file = pa.ipc.new_stream(str(writer.path), schema)
    writer.file.write_table(pa.Table.from_pylist(writer.rows, schema=schema))


_WRITE = {
    ".jsonl": _write_jsonl,
    ".json": _write_json,
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".parquet": _write_parquet,
    ".arrow": _write_arrow,
}
assert set(_WRITE) == set(READERS)


def write_tree(raw: Path, sides: pl.DataFrame, params: IngestParams, out: Path) -> None:
    """Write the tree of the split; ``sides`` has the columns file, row and side, in the order of the examples."""
    merged: dict[str, RecordWriter] = {}
    for (file,), rows in sides.group_by("file", maintain_order=True):
        _write_file(raw, str(file), rows.sort("row"), params, out, merged)
    for writer in merged.values():
        writer.close()


def _write_file(
    raw: Path, name: str, rows: pl.DataFrame, params: IngestParams, out: Path, merged: dict[str, RecordWriter]
) -> None:
    """Read one raw file again and hand each of its examples to the files of its side."""
    mirrored = {
        TRAIN: RecordWriter(out / "train" / name, raw / name),
        VALIDATION: RecordWriter(out / "validation_cluster" / name, raw / name),
    }
    targets: dict[str, list[RecordWriter]] = {
        TRAIN: [mirrored[TRAIN]],
        VALIDATION: [mirrored[VALIDATION]],
        HELD_OUT: [],
    }
    for side, folder in ((VALIDATION, "validation"), (HELD_OUT, "evaluation")):
        path = out / folder / f"{subset_of(name)}.jsonl"
        targets[side].append(merged.setdefault(str(path), RecordWriter(path)))
    wanted = zip(rows["row"], rows["side"].cast(pl.String), strict=True)
    row, side = next(wanted, (None, ""))
    for record, _ in shaped_records(raw / name, name, params):
        if record.row == row:
            for writer in targets.get(side, ()):
                writer.add(record.value)
            row, side = next(wanted, (None, ""))
    for writer in mirrored.values():
        writer.close()
