"""Writers of the file kinds that are read: one record, or one batch of a columnar file, at a time."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from winnow.records.raw import to_json

GROUP_ROWS = 10_000
GROUP_BYTES = 16 << 20


class RecordWriter(Protocol):
    """Appends to a file, which appears with the first record."""

    def add(self, record: Any) -> None:
        """Append a record."""

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a columnar file."""

    def close(self) -> None:
        """Write what is left to write and close the file."""


class TextWriter(ABC):
    """Writes each record as text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.file: TextIO | None = None

    def add(self, record: Any) -> None:
        """Append a record."""
        self._write(self._open(), record)
        self.count += 1

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a columnar file."""
        for record in batch.to_pylist():
            self.add(record)

    def close(self) -> None:
        """Write what is left to write and close the file."""
        if self.file is not None and not self.file.closed:
            self._end(self.file)
            self.file.close()

    def _open(self) -> TextIO:
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("w", encoding="utf-8", newline="")
        return self.file

    @abstractmethod
    def _write(self, file: TextIO, record: Any) -> None: ...

    def _end(self, file: TextIO) -> None:
        return


class JsonlWriter(TextWriter):
    """One object per line."""

    def _write(self, file: TextIO, record: Any) -> None:
        file.write(to_json(record) + "\n")


class JsonWriter(TextWriter):
    """A list, one element per line."""

    def _write(self, file: TextIO, record: Any) -> None:
        file.write(("[\n" if self.count == 0 else ",\n") + to_json(record))

    def _end(self, file: TextIO) -> None:
        file.write("\n]\n")


class CellWriter(TextWriter):
    """Rows of cells. Records whose fields are numbers came from a table without a header, and get none."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        plain: dict[str, Any] = {
            "delimiter": "\t",
            "quoting": csv.QUOTE_NONE,
            "quotechar": None,
            "lineterminator": "\n",
        }
        self.options = plain if path.suffix.lower() == ".tsv" else {"lineterminator": "\n"}

    def _write(self, file: TextIO, record: dict[str, str]) -> None:
        target = csv.writer(file, **self.options)
        if self.count == 0 and not all(name.isdigit() for name in record):
            target.writerow(record)
        target.writerow(record.values())


class BatchWriter:
    """Row groups of a parquet file, or batches of an arrow file, with the columns of the first batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.target: Any = None
        self.waiting: list[pa.RecordBatch] = []

    def add(self, record: Any) -> None:
        """Append a record."""
        self.add_batch(pa.RecordBatch.from_pylist([record]))

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows; they are written when there are many, or much."""
        self.waiting.append(batch)
        rows = sum(waiting.num_rows for waiting in self.waiting)
        if rows >= GROUP_ROWS or sum(waiting.nbytes for waiting in self.waiting) >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what waits and close the file."""
        self._flush()
        if self.target is not None:
            self.target.close()

    def _flush(self) -> None:
        if not self.waiting:
            return
        table = pa.Table.from_batches(self.waiting)
        if self.target is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_parquet = self.path.suffix.lower() == ".parquet"
            open_writer = pq.ParquetWriter if is_parquet else pa.ipc.new_stream
            self.target = open_writer(str(self.path), table.schema)
        self.target.write_table(table)
        self.waiting = []


def record_writer(path: Path) -> RecordWriter:
    """The writer for a file's kind, which its name tells."""
    return _WRITERS[path.suffix.lower()](path)


_WRITERS: dict[str, Callable[[Path], RecordWriter]] = {
    ".jsonl": JsonlWriter,
    ".json": JsonWriter,
    ".csv": CellWriter,
    ".tsv": CellWriter,
    ".parquet": BatchWriter,
    ".arrow": BatchWriter,
}
