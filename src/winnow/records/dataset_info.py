"""LLaMA-Factory's `dataset_info.json` beside the raw files: which columns of which file hold what."""

import fnmatch
import glob
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from winnow.errors import BadInput
from winnow.params import ColumnMap, IngestParams
from winnow.records.raw import first_line

NAME = "dataset_info.json"
# What tells which rows of a hub's data set are meant, and has no meaning for a file.
_OF_THE_HUB = {"split", "subset"}


def with_dataset_info(folder: Path, params: IngestParams) -> IngestParams:
    """The same parameters with an entry of `shapes` for each file that the folder's `dataset_info.json` describes.

    What `ingest.shapes` says of a file comes first. Entries for the hub are passed over, and so is the file of the
    same name that `datasets` writes.
    """
    path = folder / NAME
    if not path.is_file():
        return params
    found: dict[str, ColumnMap] = {}
    for name, entry in _entries(path).items():
        if not isinstance(entry, dict) or "file_name" not in entry:
            continue
        file, described = _described(path, name, entry)
        pattern = glob.escape(file) + ("/*" if (folder / file).is_dir() else "")
        if found.setdefault(pattern, described) != described and not _is_said(file, params):
            raise BadInput(f"{path} describes {file!r} twice, and differently. Say in `ingest.shapes` what holds.")
    # The first pattern that fits a file holds.
    return params.model_copy(update={"shapes": {**params.shapes, **found, **params.shapes}})


def _is_said(file: str, params: IngestParams) -> bool:
    return any(fnmatch.fnmatch(file, pattern) for pattern in params.shapes)


def _entries(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {first_line(error)}. Mend or remove it.") from None
    if not isinstance(entries, dict):
        raise BadInput(
            f"{path} is {type(entries).__name__}, not an object with an entry per data set. Mend or remove it."
        )
    return entries


def _described(path: Path, name: str, entry: dict[str, Any]) -> tuple[str, ColumnMap]:
    try:
        described = ColumnMap.model_validate({key: value for key, value in entry.items() if key not in _OF_THE_HUB})
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise BadInput(
            f"{path}: the entry {name!r} cannot be used: `{place}`: {problem['msg']}. Mend or remove it."
        ) from None
    file = entry["file_name"]
    if not isinstance(file, str) or not file or Path(file).is_absolute() or ".." in Path(file).parts:
        raise BadInput(f"{path}: the entry {name!r} has the file_name {file!r}, which is no path in this folder.")
    return Path(file).as_posix(), described
