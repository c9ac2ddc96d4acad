"""Records of jsonl and json files, streamed: one line, or one element of a list, is in memory at a time."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from winnow.records.raw import (
    BLANK,
    CHUNK,
    EXCERPT,
    Raw,
    ReadOptions,
    first_line,
    is_text,
    open_text,
    printable,
)

LINES_LOOKED_AT = 20
_BYTE_ENCODINGS = {"utf-8", "utf8", "ascii", "us-ascii", "latin-1", "iso-8859-1"}
_SPACE = re.compile(f"[{BLANK}]*")
_SEPARATOR = re.compile(f"[{BLANK},]*")
_MARKS = re.compile(r'\\.|["\[\]{},]', re.DOTALL)


def read_jsonl(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """One record per line, numbered by line; blank lines are no records."""
    if options.encoding.replace("_", "-").lower() in _BYTE_ENCODINGS:
        with path.open("rb") as file:
            yield from _read_lines(file, options)
    else:
        # In other encodings a line end may be part of a character's bytes.
        with open_text(path, options, newline="\n") as text:
            yield from _read_lines(text, options)


def _read_lines(file: BinaryIO | TextIO, options: ReadOptions) -> Iterator[Raw]:
    for row in itertools.count():
        line = file.readline(options.max_bytes + 1)
        if not line:
            return
        if len(line) > options.max_bytes and line[-1] not in ("\n", 10):
            _skip_line(file)
            yield Raw(row, reason=options.too_long, excerpt=_beginning(line))
        elif (raw := _parse(row, line, options)) is not None:
            yield raw


def _skip_line(file: BinaryIO | TextIO) -> None:
    while (rest := file.readline(CHUNK)) and rest[-1] not in ("\n", 10):
        continue


def _parse(row: int, line: bytes | str, options: ReadOptions) -> Raw | None:
    try:
        text = line.decode(options.encoding) if isinstance(line, bytes) else line
        if not is_text(text):
            return Raw(row, reason=options.undecodable, excerpt=_beginning(line))
        text = text.strip(BLANK)
        return Raw(row, json.loads(text)) if text else None
    except UnicodeDecodeError as error:
        reason = f"{options.undecodable}: {error.reason} at byte {error.start}"
    except (ValueError, RecursionError) as error:
        reason = f"broken JSON: {first_line(error)}"
    return Raw(row, reason=reason, excerpt=_beginning(line))


def _beginning(line: bytes | str) -> str:
    start = line[:EXCERPT]
    return printable(start) if isinstance(start, str) else start.decode(errors="replace")


def read_json(path: Path, options: ReadOptions) -> Iterator[Raw]:
    """A list is streamed; an object is one record, or the list of `examples` in it; lines of objects are jsonl."""
    if _first_character(path, options) == "[":
        with open_text(path, options) as file:
            yield from _read_list(_Window(file, options), options)
        return
    whole: Raw | None = Raw(0, reason=options.too_long)
    if path.stat().st_size <= options.max_bytes:
        whole = _parse(0, path.read_bytes(), options)
    if whole is not None and whole.reason is not None and _is_lines(path, options):
        yield from read_jsonl(path, options)
    elif whole is not None and isinstance(whole.value, dict) and isinstance(whole.value.get("examples"), list):
        yield from (Raw(row, value) for row, value in enumerate(whole.value["examples"]))
    elif whole is not None:
        yield whole


def _first_character(path: Path, options: ReadOptions) -> str:
    with open_text(path, options) as file:
        while chunk := file.read(CHUNK):
            if text := chunk.lstrip(BLANK):
                return text[0]
    return ""


def _is_lines(path: Path, options: ReadOptions) -> bool:
    """Whether most of the first lines are objects of their own."""
    first = list(itertools.islice(read_jsonl(path, options), LINES_LOOKED_AT))
    return 2 * sum(isinstance(raw.value, dict) for raw in first) > len(first)


def _read_list(window: "_Window", options: ReadOptions) -> Iterator[Raw]:
    """Decode one element after the other; a broken one is left by its brackets and quotation marks."""
    window.skip(_SPACE)
    window.start += 1
    window.skip(_SPACE)
    for row in itertools.count():
        first = window.peek()
        if first == "":
            yield Raw(row, reason="broken JSON: the list is not closed; the file may be cut off")
            return
        if first == "]":
            break
        try:
            yield window.decode(row)
        except (ValueError, RecursionError) as error:
            excerpt = window.excerpt()
            found = window.leave()
            lost = "" if found else "; what follows in this file is unread"
            yield Raw(row, reason=f"broken JSON: {first_line(error)}{lost}", excerpt=excerpt)
            if not found:
                return
        window.skip(_SEPARATOR)
    window.start += 1
    window.skip(_SPACE)
    if window.peek():
        yield Raw(row, reason="broken JSON: what follows the end of the list is unread", excerpt=window.excerpt())


class _Window:
    """The text of a file from the current element on."""

    def __init__(self, file: TextIO, options: ReadOptions) -> None:
        self.file = file
        self.options = options
        self.text = ""
        self.start = 0
        self.decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character, empty at the end."""
        if self.start >= len(self.text):
            self.text, self.start = self._read(), 0
        return self.text[self.start : self.start + 1]

    def excerpt(self) -> str:
        """The beginning of the current element."""
        return printable(self.text[self.start : self.start + EXCERPT])

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Move past what the pattern matches."""
        while self.peek():
            match = pattern.match(self.text, self.start)
            assert match is not None
            self.start = match.end()
            if self.start < len(self.text):
                return

    def decode(self, row: int) -> Raw:
        """Take one element; where that fails, the window still begins with it."""
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.start)
                # A number may go on in the next chunk.
                if end < len(self.text) or not self._extend():
                    text = self.text[self.start : end]
                    self.start = end
                    if is_text(text):
                        return Raw(row, value)
                    return Raw(row, reason=self.options.undecodable, excerpt=printable(text[:EXCERPT]))
            except json.JSONDecodeError as error:
                reason = f"{error.msg} at character {error.pos - self.start} of the element"
                cut_off = error.msg.startswith("Unterminated") or error.pos > len(self.text) - 20
                if not cut_off or not self._extend():
                    raise ValueError(reason) from None

    def leave(self) -> bool:
        """Move behind the current element by counting brackets outside of quotation marks; False at the end."""
        depth, quoted = 0, False
        while self.peek():
            for mark in _MARKS.finditer(self.text, self.start):
                character = mark.group()
                if character == '"':
                    quoted = not quoted
                elif not quoted and len(character) == 1:
                    depth += (character in "[{") - (character in "]}")
                    if (depth < 0 and character == "]") or (depth == 0 and character == ","):
                        self.start = mark.start()
                        return True
                    depth = max(depth, 0)
            self.start = len(self.text)
        return False

    def _extend(self) -> bool:
        """Read on behind the current element, as much again as it has already; False at the end of the file."""
        size = len(self.text) - self.start
        if size > self.options.max_bytes:
            raise ValueError(f"an element is {self.options.too_long}")
        more = self._read(max(CHUNK, size))
        self.text, self.start = self.text[self.start :] + more, 0
        return bool(more)

    def _read(self, size: int = CHUNK) -> str:
        text = self.file.read(size)
        # An escape is never cut in two, so that `leave` sees it whole.
        return text + self.file.read(1) if text.endswith("\\") else text
