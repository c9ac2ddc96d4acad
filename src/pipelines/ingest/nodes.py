"""Raw files become examples and rejects."""

import time
from pathlib import Path

import polars as pl

from winnow.errors import BadSetting
from winnow.params import IngestParams, Machine
from winnow.progress import News, publish
from winnow.records.ingest import RawFile, find_files, write_file
from winnow.stages import Finished, Work, file_checksum, locate, require_build, table_fingerprint

REVISION = 1


def find_raw_examples(params: IngestParams, machine: Machine) -> Finished:
    """Record the user's raw files and their checksums."""
    if params.folder is None:
        raise BadSetting("`ingest.folder` is null, which means generated data; name the folder of your files.")
    folder = params.folder if params.folder.is_absolute() else machine.data_root.parent / params.folder
    return _record_files(folder, machine)


def find_fabricated_examples(fabricated: Finished, machine: Machine) -> Finished:
    """Record the generated raw files."""
    return _record_files(fabricated.path / "raw", machine)


def _record_files(folder: Path, machine: Machine) -> Finished:
    files = find_files(folder)
    checksums = {file.name: file.reason or file_checksum(folder / file.name) for file in files}
    place = locate(machine.data_root / "01_raw", "raw_examples", REVISION, {}, checksums)
    inside = folder.resolve().is_relative_to(machine.data_root)
    name = folder.resolve().relative_to(machine.data_root).as_posix() if inside else folder.resolve().as_posix()
    listed = [{"name": file.name, "reason": file.reason} for file in files]
    if (done := place.finished()) and done.summary["folder"] == name:
        return done
    # The same files may have moved: the record is small, and says where they are now.
    if place.folder.exists():
        place.folder.rename(place.partial)
    with Work.resume(place) as work:
        (work.path / "record.json").unlink(missing_ok=True)
        return work.finish({"folder": name, "files": listed}, {})


def ingest(raw_examples: Finished, params: IngestParams, machine: Machine) -> tuple[Finished, Finished]:
    """Read every file into `examples` and `rejects`, file by file."""
    settings = params.model_dump(mode="json", exclude={"folder"})
    place = locate(
        machine.data_root / "02_intermediate", "ingest", REVISION, settings, {"raw_examples": raw_examples.fingerprint}
    )
    finished = place.finished()
    if finished is None:
        require_build([place])
        with Work.resume(place) as work:
            finished = _ingest_files(work, raw_examples, params, machine)
    return finished.only("examples"), finished.only("rejects")


def _ingest_files(work: Work, raw: Finished, params: IngestParams, machine: Machine) -> Finished:
    start = time.monotonic()
    folder = machine.data_root / raw.summary["folder"]
    files = [RawFile(file["name"], file["reason"]) for file in raw.summary["files"]]
    for number, file in enumerate(files):
        good, bad = f"examples/{number:05}.parquet", f"rejects/{number:05}.parquet"
        publish(News("ingest", done=number, total=len(files), unit="files", message=file.name))
        if work.is_committed(good) and work.is_committed(bad):
            continue
        rejects = work.path / f"rejects-{number:05}.writing"
        work.commit(good, lambda path, file=file, rejects=rejects: write_file(folder, file, params, path, rejects))
        work.commit(bad, rejects.replace)
    publish(News("ingest", done=len(files), total=len(files), unit="files"))
    tables = {
        "examples": _describe(work, "examples", ("example_id", "content_hash")),
        "rejects": _describe(work, "rejects", ("file", "row", "reason")),
    }
    return work.finish({"tables": tables}, {"seconds": time.monotonic() - start})


def _describe(work: Work, table: str, columns: tuple[str, ...]) -> dict[str, object]:
    file = f"{table}/*.parquet"
    frame = pl.scan_parquet(work.path / file).select(columns).collect(engine="streaming")
    return {"file": file, "rows": frame.height, "fingerprint": table_fingerprint(frame.iter_rows())}
