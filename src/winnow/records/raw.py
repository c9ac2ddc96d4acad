"""What reading a file yields: records, or the reason why there is none; and text whose bad bytes stay visible."""

import codecs
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

CHUNK = 1 << 20
EXCERPT = 200
WHOLE_FILE = -1
BLANK = "\ufeff \t\r\n"
BAD_BYTES = "winnow.bad_bytes"


@dataclass(frozen=True)
class Raw:
    """One record of a file: its number, and its value or the reason why it has none."""

    row: int
    value: Any = None
    reason: str | None = None
    excerpt: str = ""


@dataclass(frozen=True)
class ReadOptions:
    """How text is decoded, how large a record may be, and whether a table's first line names its columns."""

    encoding: str = "utf-8"
    max_bytes: int = 64 << 20
    header: bool = True

    @property
    def too_long(self) -> str:
        """The reason for a record over the limit."""
        return f"longer than {self.max_bytes / (1 << 20):g} MB (raise `ingest.max_record_mb`)"

    @property
    def undecodable(self) -> str:
        """The reason for a record with bytes that the encoding does not know."""
        return f"not {self.encoding} (set `ingest.encoding`)"


def open_text(path: Path, options: ReadOptions, newline: str = "") -> TextIO:
    """Open for reading such that a byte which cannot be decoded becomes half of a surrogate pair (see `is_text`)."""
    return path.open(encoding=options.encoding, errors=BAD_BYTES, newline=newline)


def is_text(text: str) -> bool:
    """Whether all of it could be decoded, and so can be written to a UTF-8 file."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """The text with a question mark for every half of a surrogate pair."""
    return text.encode(errors="replace").decode()


def excerpt_of(value: Any) -> str:
    """The beginning of a value, for a table of rejects."""
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, TypeError, ValueError):
        text = f"a value of type {type(value).__name__}"
    return printable(text[:EXCERPT])


def to_json(value: Any) -> str:
    """One line of JSON that a UTF-8 file can hold."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if is_text(text) else json.dumps(value, default=str)


def first_line(error: BaseException) -> str:
    """What an error says, without its further lines."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error(BAD_BYTES, _mark)
