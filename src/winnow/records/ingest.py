"""A folder of files becomes two tables: `examples`, and `rejects` with file, row, reason and excerpt.

Every record of every file ends in one of the two. One file is one shard: a killed run goes on with the next file.
"""

import fnmatch
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import BadInput, BadSetting
from winnow.params import ColumnMap, IngestParams
from winnow.paths import located
from winnow.records import dataset_info
from winnow.records.columnar_files import open_parquet
from winnow.records.conversation import converse
from winnow.records.files import read_records
from winnow.records.ids import DEFAULT_SUBSET, example_id, subset_of, with_subset
from winnow.records.raw import WHOLE_FILE, Raw, ReadOptions, excerpt_of, is_text, printable
from winnow.records.shapes import SHAPES, Shape, Shaped, Unusable, detect_shape, mapped
from winnow.stages import table_fingerprint

DETECTION_ROWS = 50
FLUSH_BYTES = 16 << 20
FLUSH_ROWS = 5000
EXAMPLES = pa.schema(
    [
        ("example_id", pa.string()),
        ("subset", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("extra", pa.string()),
        ("prompt_hash", pa.string()),
        ("content_hash", pa.string()),
        ("shape", pa.string()),
    ]
)
REJECTS = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())])


@dataclass(frozen=True)
class RawFile:
    """A file of the raw folder, or the reason why it is not read."""

    name: str
    reason: str | None = None


def raw_folder(params: IngestParams, data_root: Path) -> Path | None:
    """Where the user's own raw files are; None where generated ones are read."""
    return None if params.folder is None else located(params.folder, data_root)


def find_files(folder: Path) -> list[RawFile]:
    """All files below ``folder`` in the order of their names; hidden ones are left out, odd ones have a reason.

    LLaMA-Factory's `dataset_info.json` describes the others, and is none of them.
    """
    if not folder.is_dir():
        raise BadInput(
            f"The raw folder {folder} is not a folder. Put your files into one, and set `ingest.folder` to it; "
            "`kedro fetch RECIPE` gets the data of a recipe that says where it is."
        )
    found: list[RawFile] = []

    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        found.append(RawFile(printable(name), f"the folder cannot be read: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in linked)
        for name in [*files, *linked]:
            if not name.startswith(".") and Path(parent, name) != folder / dataset_info.NAME:
                path = Path(parent) / name
                found.append(RawFile(printable(path.relative_to(folder).as_posix()), _why_not(path, folder)))
    if not any(file.reason is None for file in found):
        raise BadInput(
            f"The raw folder {folder} holds no file to read. Put jsonl, json, parquet, arrow, csv or tsv there."
        )
    _refuse_equal_ids(folder, {file.name for file in found})
    return sorted(found, key=lambda file: file.name)


def _why_not(path: Path, folder: Path) -> str | None:
    if not is_text(path.name):
        return "its name is not valid UTF-8: rename it"
    if not path.is_symlink():
        return None if path.is_file() else "not a regular file"
    if not path.exists():
        return "a link that leads nowhere"
    if not path.resolve().is_relative_to(folder.resolve()):
        return "a link that leads out of the raw folder: copy the file instead"
    return "a linked folder: its files are read where they are" if path.is_dir() else None


def _refuse_equal_ids(folder: Path, names: set[str]) -> None:
    for name in names:
        if "/" not in name and with_subset(name) in names:
            raise BadInput(
                f"{folder} holds both {name} and {with_subset(name)}. Their examples would have the same ids, because "
                f"files at the root belong to the subset {DEFAULT_SUBSET!r}. Rename one of the two."
            )


def check_globs(files: Sequence[RawFile], params: IngestParams) -> None:
    """A glob of `ingest.shapes` that fits no file is a mistake worth an error."""
    for glob in params.shapes:
        if not any(fnmatch.fnmatch(file.name, glob) for file in files):
            names = ", ".join(file.name for file in files[:5])
            raise BadSetting(
                f"`ingest.shapes` names {glob!r}, which fits no raw file. Files are matched by their path in the raw "
                f"folder: {names}{', ...' if len(files) > 5 else ''}"
            )


def options_for(name: str, params: IngestParams) -> ReadOptions:
    """How a file is read. A column map by numbers means a table without a header."""
    override = _override(name, params)
    columns = override.columns if isinstance(override, ColumnMap) else None
    numbered = bool(columns) and all(column.isdigit() for column in (columns or {}).values())
    return ReadOptions(params.encoding, int(params.max_record_mb * (1 << 20)), header=not numbered)


def _override(name: str, params: IngestParams) -> str | ColumnMap | None:
    return next((shape for glob, shape in params.shapes.items() if fnmatch.fnmatch(name, glob)), None)


def detect_file_shape(path: Path, options: ReadOptions) -> str | None:
    """The shape that most of a file's first records have, so that one odd record does not decide for all."""
    values = (raw.value for raw in read_records(path, options) if raw.reason is None)
    shapes = (shape for value in values if (shape := detect_shape(value)))
    first = list(itertools.islice(shapes, DETECTION_ROWS))
    return max(first, key=first.count, default=None)


def read_file(folder: Path, file: RawFile, params: IngestParams) -> Iterator[dict[str, Any]]:
    """Rows of both tables; a row of `rejects` has a `reason`."""
    if file.reason is not None:
        yield _reject(file.name, Raw(WHOLE_FILE, reason=file.reason))
        return
    options = options_for(file.name, params)
    override = _override(file.name, params)
    name = override if isinstance(override, str) else detect_file_shape(folder / file.name, options) or ""
    shape: Shape = partial(_detected, name)
    if override is not None:
        name, shape = ("map", mapped(override)) if isinstance(override, ColumnMap) else (override, SHAPES[override])
    empty = True
    for raw in read_records(folder / file.name, options):
        empty = False
        yield _row(file.name, raw, name, shape)
    if empty:
        yield _reject(file.name, Raw(WHOLE_FILE, reason="the file holds no record"))


def _row(file: str, raw: Raw, name: str, shape: Shape) -> dict[str, Any]:
    if raw.reason is not None:
        return _reject(file, raw)
    try:
        if not isinstance(raw.value, dict):
            raise Unusable(f"a record of type {type(raw.value).__name__}, not an object")
        found = converse(raw.value, shape)
    except Unusable as unusable:
        return _reject(file, Raw(raw.row, raw.value, reason=str(unusable)))
    place = {"example_id": example_id(file, raw.row), "subset": subset_of(file), "file": file, "row": raw.row}
    return {**place, **vars(found), "shape": name}


def _detected(name: str, record: Mapping[str, Any]) -> Shaped:
    """Read a record in the shape that was detected for its file; one of another shape is refused."""
    looks_like = detect_shape(record)
    if looks_like is None:
        fields = ", ".join(map(str, record))[:80]
        raise Unusable(f"no known record shape; its fields are: {fields} (describe them in `ingest.shapes`)")
    if looks_like != name:
        raise Unusable(f"looks like {looks_like} in a file of {name} records (split the file by shape)")
    return SHAPES[name](record)


def _reject(file: str, raw: Raw) -> dict[str, Any]:
    excerpt = raw.excerpt or excerpt_of(raw.value)
    return {"file": file, "row": raw.row, "reason": printable((raw.reason or "")[:500]), "excerpt": excerpt}


def write_file(
    folder: Path, file: RawFile, params: IngestParams, report: Callable[[int], None], rejects: Path, examples: Path
) -> None:
    """Stream one file into its two shards; tell now and then how many records were read."""
    with pq.ParquetWriter(examples, EXAMPLES) as good, pq.ParquetWriter(rejects, REJECTS) as bad:
        sinks = (_Sink(good, EXAMPLES), _Sink(bad, REJECTS))
        for count, row in enumerate(read_file(folder, file, params)):
            sinks["reason" in row].add(row)
            if count % FLUSH_ROWS == 0:
                report(count)
        for sink in sinks:
            sink.flush()


class _Sink:
    """Collects rows and writes them when there are many, or much."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.writer = writer
        self.schema = schema
        self.rows: list[dict[str, Any]] = []
        self.bytes = 0

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.bytes += sum(len(message["content"]) for message in row.get("messages", ())) + len(row.get("extra") or "")
        if len(self.rows) >= FLUSH_ROWS or self.bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.writer.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.rows, self.bytes = [], 0


def describe(folder: Path, file: str, columns: Sequence[str]) -> dict[str, Any]:
    """A table as a record lists it: its files, its rows, and the fingerprint of the columns that others consume."""
    rows = 0

    def values() -> Iterator[tuple[object, ...]]:
        nonlocal rows
        for part in sorted(folder.glob(file)):
            with open_parquet(part) as parquet:
                for batch in parquet.iter_batches(columns=list(columns)):
                    rows += batch.num_rows
                    yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)

    fingerprint = table_fingerprint(values())
    return {"file": file, "rows": rows, "fingerprint": fingerprint}
