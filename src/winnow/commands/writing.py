"""Files of commands: each appears when it is whole."""

import os
from collections.abc import Callable
from pathlib import Path

DPI = 150


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` write a file, which appears when it is whole."""
    scratch = path.with_name(f".{path.name}.writing")
    write(scratch)
    os.replace(scratch, path)


def text_file(text: str) -> Callable[[Path], object]:
    """For `replace_file`: write this text."""
    return lambda path: path.write_text(text, encoding="utf-8")
