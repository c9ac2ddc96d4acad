"""The folder of an export: it appears when it is whole, and replaces nothing but an earlier export."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from winnow.errors import BadSetting
from winnow.stages import file_checksum

MANIFEST = "manifest.json"
MADE_BY = "winnow export"
LONGEST_NAME = 80


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A scratch folder beside ``out``, which takes its place when the block ends well."""
    out = out.resolve()
    check_replaceable(out)
    scratch, old = (out.with_name(f".{out.name}.winnow-{what}") for what in ("writing", "replaced"))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        # Writing took a while.
        check_replaceable(out)
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            os.replace(out, old)
        os.replace(scratch, out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_replaceable(out: Path) -> None:
    """Refuse a folder with anything in it that no export wrote, or that was edited since."""
    if out.exists() and not out.is_dir():
        raise BadSetting(f"--out is {out}, which is a file. Name a folder.")
    if not out.exists() or not any(out.iterdir()):
        return
    files = _exported_files(out)
    if files is None:
        raise BadSetting(
            f"{out} is not empty and holds no export of ours (no `{MANIFEST}` of one), so it is left as it is. "
            "Name another folder with --out."
        )
    if strange := sorted({path.name for path in out.iterdir()} - {*files, MANIFEST}):
        what = f"holds {strange[0]!r}, which is no part of the export"
    elif edited := [name for name, entry in files.items() if _was_edited(out / name, entry)]:
        what = f"holds {edited[0]!r}, which was edited after the export"
    else:
        return
    raise BadSetting(f"{out} {what}, so it is left as it is. Move that file, or name another folder with --out.")


def _exported_files(out: Path) -> dict[str, dict[str, Any]] | None:
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        return dict(manifest["files"]) if manifest["made_by"] == MADE_BY else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _was_edited(path: Path, entry: dict[str, Any]) -> bool:
    """Settings are there to be edited; the files of rows are large, and taken for what they were."""
    return "rows" not in entry and path.exists() and file_checksum(path) != entry["sha256"]


def file_names(clusters: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """A file name for each cluster, of letters, digits, `.`, `_` and `-`; no two are the same on any file system."""
    used = {name.casefold() for name in taken}
    names: dict[str, str] = {}
    for cluster in sorted(clusters):
        stem = re.sub(r"[^\w.-]+", "-", cluster)[:LONGEST_NAME].strip("-.") or "cluster"
        name, number = stem, 1
        while name.casefold() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.casefold())
        names[cluster] = f"{name}.jsonl"
    return names
