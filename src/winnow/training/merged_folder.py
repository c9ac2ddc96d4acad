"""The folder of a merged model: it takes the place of nothing but a model that a merge or a download left there."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from winnow.errors import BadSetting
from winnow.stages.finished import RECORD


def check_target(target: Path, sources: Iterable[Path], force: bool) -> None:
    """Refuse a folder that is there, or with ``force`` one that is no model; and any place in or around ``sources``."""
    _put_back(target)
    for source in (source.resolve() for source in sources if source.is_dir()):
        if target.is_relative_to(source) or source.is_relative_to(target):
            raise BadSetting(f"--out is {target}, and {source} is merged: name a folder apart from it.")
    if stage := next((folder for folder in (target, *target.parents) if (folder / RECORD).exists()), None):
        raise BadSetting(f"--out is {target}, but {stage} is the result of a stage, which never changes. Name another.")
    if target.exists() and not force:
        raise BadSetting(f"{target} exists already; use --force to replace it, or --out for another folder.")
    if target.exists() and not _is_replaceable(target):
        raise BadSetting(
            f"{target} is no folder of a model, with config.json and *.safetensors, so it is left as it is. Remove it "
            "yourself, or name another with --out."
        )


def appear(scratch: Path, target: Path) -> None:
    """Whole or not at all: what was there before goes once the new one has its name."""
    for file in scratch.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    before = _before(target)
    if target.exists():
        shutil.rmtree(before, ignore_errors=True)
        os.replace(target, before)
    os.replace(scratch, target)
    shutil.rmtree(before, ignore_errors=True)


def _put_back(target: Path) -> None:
    """After a kill between the two renames the old folder has its other name only."""
    if _before(target).exists() and not target.exists():
        os.replace(_before(target), target)


def _before(target: Path) -> Path:
    return target.with_name(f".{target.name}.before")


def _is_replaceable(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return not any(folder.iterdir()) or ((folder / "config.json").exists() and any(folder.glob("*.safetensors")))
