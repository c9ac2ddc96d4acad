"""Records of csv and tsv files: one row is in memory at a time, as a dict by the names of its columns."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TextIO

from winnow.records.raw import CHUNK, WHOLE_FILE, Raw, ReadOptions, excerpt_of, first_line, is_text, open_text

Quoting = Literal[0, 3]


def read_csv(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """Comma-separated, with quotation marks."""
    yield from _read_cells(path, options, ",", csv.QUOTE_MINIMAL)


def read_tsv(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """Tab-separated. Published files hold quotation marks as they are: a cell cannot contain a tab or a line end."""
    yield from _read_cells(path, options, "\t", csv.QUOTE_NONE)


def _read_cells(path: Path, options: ReadOptions, delimiter: str, quoting: Quoting) -> Iterator[Raw]:
    with open_text(path, options) as file:
        rows = _rows(_Lines(file, options), options, delimiter, quoting)
        names: list[str] | None = None
        if options.header:
            names, problem = _header(next(rows, None))
            if names is None:
                yield Raw(WHOLE_FILE, reason=problem)
                return
        for number, (cells, reason) in enumerate(rows):
            yield _named(number, cells, reason, names)


def _header(first: tuple[list[str], str | None] | None) -> tuple[list[str] | None, str]:
    if first is None:
        return None, "the file holds no record"
    names, reason = first
    if reason is not None:
        return None, f"the first line, which should name the columns, is {reason}"
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return None, f"the first line names the column {twice!r} twice (no header? map columns by number)"
    return names, ""


def _named(row: int, cells: list[str], reason: str | None, names: list[str] | None) -> Raw:
    excerpt = excerpt_of("\t".join(cells))
    if reason is not None:
        return Raw(row, reason=reason, excerpt=excerpt)
    names = [str(number) for number in range(len(cells))] if names is None else names
    if len(cells) != len(names):
        counts = f"{len(cells)} cells where the header has {len(names)}"
        return Raw(row, reason=f"{counts} (no header? map columns by number: `ingest.shapes`)", excerpt=excerpt)
    return Raw(row, dict(zip(names, cells, strict=True)))


def _rows(
    lines: "_Lines", options: ReadOptions, delimiter: str, quoting: Quoting
) -> Iterator[tuple[list[str], str | None]]:
    """Cells of each row, and the reason why they cannot be used."""
    csv.field_size_limit(options.max_bytes)
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        first = lines.count + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield [lines.last[: CHUNK // 4]], f"broken cells in lines {first} to {lines.count}: {first_line(error)}"
            continue
        if not all(map(is_text, cells)):
            yield cells, options.undecodable
        elif cells:
            yield cells, None


class _Lines:
    """Lines for a csv reader. One that is too long is skipped, and raises; the next call goes on behind it."""

    def __init__(self, file: TextIO, options: ReadOptions) -> None:
        self.file = file
        self.options = options
        self.count = 0
        self.last = ""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.last = self.file.readline(self.options.max_bytes + 1)
        if not line:
            raise StopIteration
        self.count += 1
        if len(line) > self.options.max_bytes and line[-1] not in "\r\n":
            while (rest := self.file.readline(CHUNK)) and rest[-1] not in "\r\n":
                continue
            raise csv.Error(self.options.too_long)
        return line.removeprefix("\ufeff") if self.count == 1 else line
