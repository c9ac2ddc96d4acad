"""Files of the split, in the folders, formats and shapes of the raw data.

`train/<subset>/<file>` and `validation_cluster/<subset>/<file>` mirror the raw files; `validation/<subset>` and
`evaluation/<subset>` merge a subset's files: as parquet where all of them are parquet with the same columns, else as
jsonl. Records are written as they were read, with all their fields.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from winnow.params import IngestParams
from winnow.records import columnar_files
from winnow.records.columnar_files import read_batches, schema_of
from winnow.records.files import read_records
from winnow.records.ids import subset_of
from winnow.records.ingest import options_for
from winnow.records.writers import RecordWriter, record_writer
from winnow.splits import HELD_OUT, TRAIN, VALIDATION

MERGED = {VALIDATION: "validation", HELD_OUT: "evaluation"}
MIRRORED = {TRAIN: "train", VALIDATION: "validation_cluster"}


def write_tree(raw: Path, sides: pl.DataFrame, params: IngestParams, out: Path) -> None:
    """Write the tree of the split; ``sides`` has the columns file, row and side."""
    shutil.rmtree(out, ignore_errors=True)
    parts = {str(file): rows.sort("row") for (file,), rows in sides.group_by("file")}
    subsets: dict[str, list[str]] = {}
    for file in sorted(parts):
        subsets.setdefault(subset_of(file), []).append(file)
    for subset, files in subsets.items():
        suffix = _merged_suffix([raw / file for file in files])
        merged = {side: record_writer(out / f"{folder}/{subset}{suffix}") for side, folder in MERGED.items()}
        for file in files:
            _write_file(raw / file, file, parts[file], params, out, merged)
        for writer in merged.values():
            writer.close()


def write_repeated(raw: Path, rows: pl.DataFrame, params: IngestParams, out: Path) -> None:
    """Write rows as often as they are wanted, each under its file's own name; ``rows`` has file, row and times.

    Copies stand side by side: trainers shuffle.
    """
    shutil.rmtree(out, ignore_errors=True)
    copies = rows.select("file", pl.col("row").repeat_by("times")).explode("row").drop_nulls()
    for (file,), wanted in copies.sort("file", "row").group_by("file", maintain_order=True):
        writer = record_writer(out / str(file))
        _copy(raw / str(file), str(file), wanted.with_columns(side=pl.lit(TRAIN)), params, {TRAIN: [writer]})
        writer.close()


def _merged_suffix(files: Sequence[Path]) -> str:
    if any(file.suffix.lower() != ".parquet" for file in files):
        return ".jsonl"
    first = schema_of(files[0])
    return ".parquet" if all(schema_of(file).equals(first) for file in files) else ".jsonl"


def _write_file(
    path: Path, name: str, rows: pl.DataFrame, params: IngestParams, out: Path, merged: dict[str, RecordWriter]
) -> None:
    """Read one raw file again and hand each of its examples to the files of its side."""
    mirrored = {side: record_writer(out / folder / name) for side, folder in MIRRORED.items()}
    targets = {
        side: [writers[side] for writers in (mirrored, merged) if side in writers]
        for side in (TRAIN, VALIDATION, HELD_OUT)
    }
    _copy(path, name, rows, params, targets)
    for writer in mirrored.values():
        writer.close()


def _copy(
    path: Path, name: str, rows: pl.DataFrame, params: IngestParams, targets: dict[str, list[RecordWriter]]
) -> None:
    if path.suffix.lower() in columnar_files.SUFFIXES:
        _copy_batches(path, rows, targets)
    else:
        _copy_records(path, name, rows, params, targets)


def _copy_records(
    path: Path, name: str, rows: pl.DataFrame, params: IngestParams, targets: dict[str, list[RecordWriter]]
) -> None:
    wanted = zip(rows["row"], rows["side"], strict=True)
    row, side = next(wanted, (None, ""))
    for record in read_records(path, options_for(name, params)):
        while record.row == row:
            for writer in targets.get(side, ()):
                writer.add(record.value)
            row, side = next(wanted, (None, ""))
    assert row is None, f"{name} has changed since it was read"


def _copy_batches(path: Path, rows: pl.DataFrame, targets: dict[str, list[RecordWriter]]) -> None:
    """Columnar files are copied without a detour over Python objects, which keeps every type as it is."""
    chosen = {side: rows.filter(pl.col("side") == side)["row"].to_numpy() for side in targets}
    start = 0
    for batch in read_batches(path):
        stop = start + batch.num_rows
        for side, writers in targets.items():
            first, last = np.searchsorted(chosen[side], [start, stop])
            if first < last:
                taken = batch.take(chosen[side][first:last] - start)
                for writer in writers:
                    writer.add_batch(taken)
        start = stop
