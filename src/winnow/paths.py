"""Where the data that parameters and recipes name lies: `data/...` in the data root, the rest in the project."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def located(path: Path | str, data_root: Path) -> Path:
    """The same place whatever folder a command is typed in, and wherever `WINNOW_DATA_ROOT` moves the data."""
    named = Path(path).expanduser()
    if named.parts[:1] == ("data",):
        return data_root.joinpath(*named.parts[1:])
    return PROJECT / named
