"""Records of a file, one at a time, whatever the kind of file; what cannot be read is told, never dropped.

A record is yielded as `Raw`: a value, or the reason why there is none. Memory holds one record, or one batch of a
columnar file, at a time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from winnow.records import columnar_files
from winnow.records.cell_files import read_csv, read_tsv
from winnow.records.columnar_files import read_columnar
from winnow.records.json_files import read_json, read_jsonl
from winnow.records.raw import EXCERPT, WHOLE_FILE, Raw, ReadOptions, first_line

__all__ = ["EXCERPT", "READERS", "WHOLE_FILE", "Raw", "ReadOptions", "read_records"]

READERS: dict[str, Callable[[Path, ReadOptions], Iterator[Raw]]] = {
    ".parquet": read_columnar,
    ".arrow": read_columnar,
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
}
_MAGIC = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\x1f\x8b": ".gz",
    b"PK\x03\x04": ".zip",
    b"\x28\xb5\x2f\xfd": ".zst",
}
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_records(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """Yield the records of ``path`` in order; the kind of file is told by its name and checked by its first bytes."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kind = path.suffix or "a file without extension"
        yield Raw(WHOLE_FILE, reason=f"not a data file: {kind} (read are {', '.join(READERS)})")
        return
    last = WHOLE_FILE
    try:
        if problem := _wrong_name(path, options):
            yield Raw(WHOLE_FILE, reason=problem)
            return
        for raw in reader(path, options):
            last = raw.row
            yield raw
    except (OSError, pa.ArrowException, UnicodeError) as error:
        where = "the file cannot be read" if last == WHOLE_FILE else f"unreadable after record {last}"
        yield Raw(last + 1 if last >= 0 else WHOLE_FILE, reason=f"{where}: {first_line(error)}")


def _wrong_name(path: Path, options: ReadOptions) -> str | None:
    with path.open("rb") as file:
        head = file.read(8)
    suffix = path.suffix.lower()
    for magic, kind in _MAGIC.items():
        if head.startswith(magic) and kind != suffix:
            remedy = f"rename it to {path.stem}{kind}" if kind in columnar_files.SUFFIXES else "unpack it"
            return f"named {path.suffix}, but its content is {kind}: {remedy}"
    if suffix in columnar_files.SUFFIXES or b"\0" not in head:
        return None
    if options.encoding.lower().startswith(("utf-16", "utf_16", "utf16", "utf-32", "utf_32", "utf32")):
        return None
    if head.startswith(_BYTE_ORDER_MARKS):
        return f"the text is UTF-16, not {options.encoding} (set `ingest.encoding: utf-16`)"
    return f"named {path.suffix}, but its content is binary"
