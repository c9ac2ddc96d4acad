"""Records of a file, one at a time, whatever the kind of file; what cannot be read is told, never dropped.

A record is yielded as `Raw`: a value, or the reason why there is none. Memory holds one record, or one batch of a
columnar file, at a time.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

BATCH_ROWS = 1000
CHUNK_BYTES = 1 << 20
EXCERPT = 200
WHOLE_FILE = -1
MAGIC = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\x1f\x8b": ".gz",
    b"PK\x03\x04": ".zip",
    b"\x28\xb5\x2f\xfd": ".zst",
}


@dataclass(frozen=True)
class Raw:
    """One record of a file: its number, and its value or the reason why it has none."""

    row: int
    value: Any = None
    reason: str | None = None
    excerpt: str = ""


@dataclass(frozen=True)
class ReadOptions:
    """How text is decoded, and how large a record may be."""

    encoding: str = "utf-8"
    max_bytes: int = 64 << 20


def read_records(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """Yield the records of ``path`` in order; the kind of file is told by its name and checked by its first bytes."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        yield Raw(
            WHOLE_FILE, reason=f"not a data file: {path.suffix or 'no extension'} (read are {', '.join(READERS)})"
        )
        return
    if problem := _wrong_name(path):
        yield Raw(WHOLE_FILE, reason=problem)
        return
    last = WHOLE_FILE
    try:
        for raw in reader(path, options):
            last = raw.row
            yield raw
    except (OSError, pa.ArrowException, csv.Error) as error:
        where = "the file cannot be read" if last == WHOLE_FILE else f"unreadable after record {last}"
        yield Raw(last + 1 if last >= 0 else WHOLE_FILE, reason=f"{where}: {_first_line(error)}")


def _wrong_name(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(8)
    columnar = {".parquet", ".arrow"}
    for magic, suffix in MAGIC.items():
        if head.startswith(magic) and suffix != path.suffix.lower():
            remedy = f"rename it to {path.stem}{suffix}" if suffix in columnar else "unpack it"
            return f"named {path.suffix}, but its content is {suffix}: {remedy}"
    if path.suffix.lower() not in columnar and b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return f"named {path.suffix}, but its content is binary"
    return None


def _read_jsonl(path: Path, options: ReadOptions) -> Iterator[Raw]:
    with path.open("rb") as file:
        if options.encoding.replace("_", "-").lower() not in ("utf-8", "utf8", "ascii", "latin-1"):
            yield from _read_text_lines(path, options)
            return
        row = 0
        while line := file.readline(options.max_bytes + 1):
            if len(line) > options.max_bytes and not line.endswith(b"\n"):
                _skip_line(file)
                yield Raw(row, reason=_too_long(options), excerpt=line[:EXCERPT].decode(errors="replace"))
            elif line.strip(b" \t\r\n\xef\xbb\xbf"):
                yield _parse_line(row, line, options)
            row += 1


def _read_text_lines(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """For encodings whose line ends are not single bytes."""
    with path.open(encoding=options.encoding, errors="replace", newline="\n") as file:
        for row, line in enumerate(file):
            if line.strip("\ufeff \t\r\n"):
                yield _parse_line(row, line.encode(), ReadOptions("utf-8", options.max_bytes))


def _skip_line(file: Any) -> None:
    while (rest := file.readline(CHUNK_BYTES)) and not rest.endswith(b"\n"):
        continue


def _parse_line(row: int, line: bytes, options: ReadOptions) -> Raw:
    try:
        text = line.decode(options.encoding).removeprefix("\ufeff")
        return Raw(row, json.loads(text))
    except UnicodeDecodeError as error:
        reason = f"not {options.encoding}: {error.reason} at byte {error.start} (set `ingest.encoding`)"
    except (ValueError, RecursionError) as error:
        reason = f"broken JSON: {_first_line(error)}"
    return Raw(row, reason=reason, excerpt=line[:EXCERPT].decode(errors="replace"))


def _read_json(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """A list is streamed; an object is one record, or the list of `examples` in it; lines of objects are jsonl."""
    first = _first_character(path, options)
    if first == "[":
        yield from _read_json_list(path, options)
        return
    if path.stat().st_size > options.max_bytes:
        # One object this large would not fit; lines of objects do.
        yield from _read_jsonl(path, options)
        return
    content = path.read_bytes()
    whole = _parse_line(0, content, options)
    if whole.reason is not None and content.count(b"\n"):
        yield from _read_jsonl(path, options)
    elif isinstance(whole.value, dict) and isinstance(whole.value.get("examples"), list):
        yield from (Raw(row, value) for row, value in enumerate(whole.value["examples"]))
    else:
        yield whole


def _first_character(path: Path, options: ReadOptions) -> str:
    with path.open(encoding=options.encoding, errors="replace") as file:
        while chunk := file.read(CHUNK_BYTES):
            if text := chunk.lstrip("\ufeff \t\r\n"):
                return text[0]
    return ""


def _read_json_list(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """Decode one element after the other from a sliding window over the text."""
    with path.open(encoding=options.encoding, errors="surrogateescape") as file:
        window = _Window(file, options.max_bytes)
        window.skip("\ufeff \t\r\n[")
        row = 0
        while (first := window.peek()) not in ("", "]"):
            try:
                value = window.decode()
            except (ValueError, RecursionError) as error:
                excerpt = window.text[:EXCERPT].encode(errors="replace").decode()
                message = f"broken JSON: {_first_line(error)}; what follows in this file is unread"
                yield Raw(row, reason=message, excerpt=excerpt)
                return
            yield Raw(row, value)
            row += 1
            window.skip(" \t\r\n,")
        if first == "":
            yield Raw(row, reason="broken JSON: the list is not closed; the file may be cut off")


class _Window:
    """Text of a file from the current element on."""

    def __init__(self, file: io.TextIOWrapper, limit: int) -> None:
        self.file = file
        self.limit = limit
        self.text = ""
        self.decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character, empty at the end."""
        if not self.text:
            self.text = self.file.read(CHUNK_BYTES)
        return self.text[:1]

    def skip(self, characters: str) -> None:
        """Move past any of these characters."""
        while self.peek() and self.peek() in characters:
            self.text = self.text.lstrip(characters)

    def decode(self) -> Any:
        """Take one element, reading as much as it needs."""
        wanted = CHUNK_BYTES
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text)
                if end < len(self.text) or not (more := self.file.read(CHUNK_BYTES)):
                    self.text = self.text[end:]
                    return value
            except ValueError:
                if not (more := self.file.read(wanted)):
                    raise
                wanted *= 2
            self.text += more
            if len(self.text) > self.limit + wanted:
                raise ValueError(f"an element is longer than {self.limit >> 20} MB (`ingest.max_record_mb`)")


def _read_parquet(path: Path, options: ReadOptions) -> Iterator[Raw]:
    with pq.ParquetFile(path) as file:
        yield from _rows_of(file.iter_batches(batch_size=BATCH_ROWS))


def _read_arrow(path: Path, options: ReadOptions) -> Iterator[Raw]:
    with pa.memory_map(str(path)) as source:
        try:
            file = pa.ipc.open_file(source)
            batches = (file.get_batch(number) for number in range(file.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            batches = iter(pa.ipc.open_stream(source))
        yield from _rows_of(batches)


def _rows_of(batches: Iterator[pa.RecordBatch]) -> Iterator[Raw]:
    row = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for value in batch.slice(start, BATCH_ROWS).to_pylist():
                yield Raw(row, value)
                row += 1


def _read_csv(path: Path, options: ReadOptions) -> Iterator[Raw]:
    yield from _read_cells(path, options, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _read_tsv(path: Path, options: ReadOptions) -> Iterator[Raw]:
    # Published TSV files hold quotation marks as they are: a cell cannot contain a tab or a line end.
    yield from _read_cells(path, options, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_cells(path: Path, options: ReadOptions, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Raw]:
    """Rows as lists of cells, the first line included: whether it is a header is the shape's to say."""
    csv.field_size_limit(options.max_bytes)
    encoding = "utf-8-sig" if options.encoding.lower() in ("utf-8", "utf8") else options.encoding
    with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
        for row, cells in enumerate(csv.reader(file, delimiter=delimiter, quoting=quoting)):
            if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
                excerpt = delimiter.join(cells)[:EXCERPT].encode(errors="replace").decode()
                yield Raw(row, reason=f"not {options.encoding} (set `ingest.encoding`)", excerpt=excerpt)
            elif cells:
                yield Raw(row, cells)


def _too_long(options: ReadOptions) -> str:
    return f"longer than {options.max_bytes / (1 << 20):g} MB (raise `ingest.max_record_mb`)"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


READERS: dict[str, Callable[[Path, ReadOptions], Iterator[Raw]]] = {
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
}
