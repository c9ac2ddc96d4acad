"""Record batches of parquet and arrow files, of bounded size, and their rows."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from winnow.records.raw import WHOLE_FILE, Raw, ReadOptions, first_line

BATCH_ROWS = 1000
BATCH_BYTES = 16 << 20
SUFFIXES = (".parquet", ".arrow")


def read_columnar(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """One record per row."""
    names = schema_of(path).names
    if len(set(names)) < len(names):
        yield Raw(WHOLE_FILE, reason=f"two columns have the same name, among {', '.join(sorted(names))}")
        return
    row = 0
    for batch in read_batches(path):
        try:
            rows = [Raw(row + place, value) for place, value in enumerate(batch.to_pylist())]
        except (ValueError, OverflowError, pa.ArrowException):
            rows = [_one_row(batch, place, row) for place in range(batch.num_rows)]
        yield from rows
        row += batch.num_rows


def _one_row(batch: pa.RecordBatch, place: int, before: int) -> Raw:
    try:
        return Raw(before + place, batch.slice(place, 1).to_pylist()[0])
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return Raw(before + place, reason=f"a value cannot be read: {first_line(error)}")


def open_parquet(path: Path) -> pq.ParquetFile:
    """A file to be streamed: read ahead, as is the default, all that was read stays in memory until the end."""
    return pq.ParquetFile(path, pre_buffer=False)


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """All rows in order, some at a time."""
    yield from _parquet_batches(path) if path.suffix.lower() == ".parquet" else _arrow_batches(path)


def schema_of(path: Path) -> pa.Schema:
    """The columns of a parquet or arrow file."""
    if path.suffix.lower() == ".parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as source:
        return _open_arrow(source).schema


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with open_parquet(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        per_row = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
        yield from file.iter_batches(batch_size=max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, per_row))))


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        opened = _open_arrow(source)
        is_file = isinstance(opened, pa.ipc.RecordBatchFileReader)
        batches = (opened.get_batch(number) for number in range(opened.num_record_batches)) if is_file else opened
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)


def _open_arrow(source: pa.NativeFile) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
    """`datasets` writes the streaming format under the same file name."""
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)
