"""Raw files become examples and rejects."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from winnow.errors import BadSetting
from winnow.params import IngestParams, Machine
from winnow.progress import News, publish
from winnow.records.dataset_info import NAME, with_dataset_info
from winnow.records.ingest import RawFile, check_globs, describe, find_files, raw_folder, write_file
from winnow.stages import Finished, Work, file_checksum, filled, locate, require_build

REVISION = 1


def find_raw_examples(params: IngestParams, machine: Machine) -> Finished:
    """Record the user's raw files and their checksums."""
    if (folder := raw_folder(params, machine.data_root)) is None:
        raise BadSetting("`ingest.folder` is null, which means generated data; name the folder of your files.")
    return record_files(folder, machine)


def find_fabricated_examples(fabricated: Finished, machine: Machine) -> Finished:
    """Record the generated raw files."""
    return record_files(fabricated.path / "raw", machine)


def record_files(folder: Path, machine: Machine) -> Finished:
    """Record the files of a folder and their checksums."""
    files = [_checked(folder, file) for file in find_files(folder)]
    contents = {str(file["name"]): str(file["sha256"] or file["reason"]) for file in files}
    if (description := folder / NAME).is_file():
        contents[NAME] = file_checksum(description)
    place = locate(machine.data_root / "01_raw", "raw_examples", REVISION, {}, contents)
    inside = folder.resolve().is_relative_to(machine.data_root.resolve())
    name = (folder.resolve().relative_to(machine.data_root.resolve()) if inside else folder.resolve()).as_posix()
    if (done := place.finished()) and done.summary["folder"] == name:
        return done
    require_build([place])
    # The same files may have moved: the record is small, and says where they are now.
    shutil.rmtree(place.folder, ignore_errors=True)
    return filled(place, lambda work: {"folder": name, "files": files})


def _checked(folder: Path, file: RawFile) -> dict[str, str | int | None]:
    """A file with its size and checksum, or the reason why it has none."""
    path = folder / file.name
    try:
        sha256 = None if file.reason else file_checksum(path)
        size = None if file.reason else path.stat().st_size
        return {"name": file.name, "bytes": size, "sha256": sha256, "reason": file.reason}
    except OSError as error:
        return {"name": file.name, "bytes": None, "sha256": None, "reason": f"it cannot be read: {error.strerror}"}


def ingest(raw_examples: Finished, params: IngestParams, machine: Machine) -> tuple[Finished, Finished]:
    """Read every file into `examples` and `rejects`, file by file."""
    settings = params.model_dump(mode="json", exclude={"folder"})
    place = locate(
        machine.data_root / "02_intermediate", "ingest", REVISION, settings, {"raw_examples": raw_examples.fingerprint}
    )
    finished = filled(place, lambda work: _ingest_files(work, raw_examples, params, machine))
    return finished.only("examples"), finished.only("rejects")


def _ingest_files(work: Work, raw: Finished, params: IngestParams, machine: Machine) -> dict[str, Any]:
    folder = machine.data_root / raw.summary["folder"]
    files = [RawFile(file["name"], file["reason"]) for file in raw.summary["files"]]
    check_globs(files, params)
    params = with_dataset_info(folder, params)
    for number, file in enumerate(files):
        good, bad = f"examples/{number:05}.parquet", f"rejects/{number:05}.parquet"
        report = partial(_report, number, len(files), file.name)
        if work.is_committed(good) and work.is_committed(bad):
            continue
        rejects = work.path / f"rejects-{number:05}.writing"
        work.commit(good, partial(write_file, folder, file, params, report, rejects))
        work.commit(bad, rejects.replace)
    publish(News("ingest", done=len(files), total=len(files), unit="files"))
    tables = {
        "examples": describe(work.path, "examples/*.parquet", ("example_id", "content_hash")),
        "rejects": describe(work.path, "rejects/*.parquet", ("file", "row", "reason")),
    }
    return {"tables": tables}


def _report(number: int, total: int, name: str, rows: int) -> None:
    publish(News("ingest", done=number, total=total, unit="files", message=f"{name}: {rows:,} records"))
