"""A folder of files becomes two tables: `examples`, and `rejects` with file, row, reason and excerpt.

Every record of every file ends in one of the two. One file is one shard: a killed run goes on with the next file.
"""

import fnmatch
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import BadInput, BadSetting
from winnow.params import ColumnMap, IngestParams
from winnow.records.conversation import converse
from winnow.records.files import EXCERPT, WHOLE_FILE, Raw, ReadOptions, read_records
from winnow.records.shapes import SHAPES, Shape, Unusable, detect_shape, mapped

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


def find_files(folder: Path) -> list[RawFile]:
    """All files below ``folder`` in the order of their names; hidden ones are left out, odd ones have a reason."""
    if not folder.is_dir():
        raise BadInput(f"The raw folder {folder} does not exist. Put your files there, or set `ingest.folder`.")
    found: list[RawFile] = []
    for parent, folders, files in os.walk(folder):
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in linked)
        for name in [*files, *linked]:
            if not name.startswith("."):
                path = Path(parent) / name
                found.append(RawFile(path.relative_to(folder).as_posix(), _why_not(path, folder)))
    if not any(file.reason is None for file in found):
        raise BadInput(
            f"The raw folder {folder} holds no file to read. Put jsonl, json, parquet, arrow, csv or tsv there."
        )
    return sorted(found, key=lambda file: file.name)


def _why_not(path: Path, folder: Path) -> str | None:
    if not path.is_symlink():
        return None if path.is_file() else "not a regular file"
    if not path.exists():
        return "a link that leads nowhere"
    if not path.resolve().is_relative_to(folder.resolve()):
        return "a link that leads out of the raw folder: copy the file instead"
    return "a linked folder: its files are read where they are" if path.is_dir() else None


def subset_of(file: str) -> str:
    """The first folder of a file's path, `default` for files at the root."""
    return file.split("/", 1)[0] if "/" in file else "default"


def example_id(file: str, row: int) -> str:
    """`<subset>/<file with extension>:<record>`."""
    return f"{file}:{row}" if "/" in file else f"default/{file}:{row}"


def shaped_records(path: Path, name: str, params: IngestParams) -> Iterator[tuple[Raw, str]]:
    """The records of a file as dicts, each with the name of the file's shape; cells get the names of their columns."""
    options = ReadOptions(params.encoding, int(params.max_record_mb * (1 << 20)))
    wanted = _override(name, params)
    header: list[str] | None = None
    numbered = isinstance(wanted, ColumnMap) and all(
        column.isdigit() for column in (wanted.columns or {"": ""}).values()
    )
    shape = wanted if isinstance(wanted, str) else "map" if wanted else None
    records = 0
    for raw in read_records(path, options):
        value = raw.value
        if isinstance(value, list) and path.suffix.lower() in (".csv", ".tsv"):
            if header is None and not numbered:
                header = value
                continue
            names = header or [str(number) for number in range(len(value))]
            raw = Raw(records, *_name_cells(names, value))
        elif path.suffix.lower() in (".csv", ".tsv"):
            raw = Raw(records, reason=raw.reason, excerpt=raw.excerpt)
        records += 1
        shape = shape or detect_shape(raw.value)
        yield raw, shape or ""


def _name_cells(names: list[str], cells: list[str]) -> tuple[dict[str, str] | None, str | None, str]:
    if len(cells) != len(names):
        reason = (
            f"{len(cells)} cells where the header has {len(names)} (no header? map columns by number: `ingest.shapes`)"
        )
        return None, reason, ",".join(cells)[:EXCERPT]
    return dict(zip(names, cells, strict=True)), None, ""


def _override(name: str, params: IngestParams) -> str | ColumnMap | None:
    return next((shape for glob, shape in params.shapes.items() if fnmatch.fnmatch(name, glob)), None)


def read_file(folder: Path, file: RawFile, params: IngestParams) -> Iterator[dict[str, Any]]:
    """Rows of both tables; a row of `rejects` has a `reason`."""
    if file.reason is not None:
        yield _reject(file.name, Raw(WHOLE_FILE, reason=file.reason))
        return
    override = _override(file.name, params)
    count = 0
    for raw, shape_name in shaped_records(folder / file.name, file.name, params):
        count += 1
        if raw.reason is not None:
            yield _reject(file.name, raw)
            continue
        try:
            shape = mapped(override) if isinstance(override, ColumnMap) else _shape_for(shape_name, raw.value)
            found = converse(raw.value, shape)
        except Unusable as unusable:
            yield _reject(file.name, Raw(raw.row, raw.value, reason=str(unusable)))
            continue
        yield {
            "example_id": example_id(file.name, raw.row),
            "subset": subset_of(file.name),
            "file": file.name,
            "row": raw.row,
            **vars(found),
            "shape": shape_name,
        }
    if count == 0:
        yield _reject(file.name, Raw(WHOLE_FILE, reason="the file holds no record"))


def _shape_for(name: str, record: Any) -> Shape:
    if not isinstance(record, dict):
        raise Unusable(f"a record of type {type(record).__name__}, not an object")
    looks_like = detect_shape(record)
    if not name or (looks_like is None and name != "pair"):
        fields = ", ".join(map(str, record))[:80]
        raise Unusable(f"no known record shape; its fields are: {fields} (describe them in `ingest.shapes`)")
    if looks_like not in (None, name) and not (set(_KEYS[name]) <= set(record)):
        raise Unusable(f"looks like {looks_like} in a file of {name} records (split the file by shape)")
    return SHAPES[name]


_KEYS = {"messages": ["messages"], "sharegpt": ["conversations"], "alpaca": ["instruction", "output"], "pair": []}


def _reject(file: str, raw: Raw) -> dict[str, Any]:
    excerpt = raw.excerpt or ("" if raw.value is None else json.dumps(raw.value, ensure_ascii=False, default=str))
    clean = excerpt[:EXCERPT].encode(errors="replace").decode()
    return {"file": file, "row": raw.row, "reason": (raw.reason or "")[:500], "excerpt": clean}


def write_file(folder: Path, file: RawFile, params: IngestParams, examples: Path, rejects: Path) -> tuple[int, int]:
    """Stream one file into its two shards and return how many rows each has."""
    counts = [0, 0]
    if any(glob.startswith("/") for glob in params.shapes):
        raise BadSetting("Globs of `ingest.shapes` are relative to the raw folder; remove the leading slash.")
    with pq.ParquetWriter(examples, EXAMPLES) as good, pq.ParquetWriter(rejects, REJECTS) as bad:
        sinks = (_Sink(good, EXAMPLES), _Sink(bad, REJECTS))
        for row in read_file(folder, file, params):
            is_reject = "reason" in row
            counts[is_reject] += 1
            sinks[is_reject].add(row)
        for sink in sinks:
            sink.flush()
    return counts[0], counts[1]


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
