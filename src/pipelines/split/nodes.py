"""Which rows train, which validate, which are held out."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import NothingToTrainOn
from winnow.params import IngestParams, Machine, SplitParams
from winnow.progress import News, publish
from winnow.records.columnar_files import open_parquet
from winnow.records.dataset_info import with_dataset_info
from winnow.records.ids import example_id
from winnow.records.ingest import EXAMPLES, describe
from winnow.records.tree import write_tree
from winnow.splits import HELD_OUT, TRAIN, VALIDATION, assign_sides, read_index
from winnow.stages import Finished, Work, filled, locate, table_fingerprint

REVISION = 1
TABLES = (TRAIN, VALIDATION, HELD_OUT)
BATCH_ROWS = 2000


def split(
    examples: Finished, raw_examples: Finished, params: SplitParams, ingest: IngestParams, machine: Machine
) -> tuple[Finished, Finished, Finished, Finished]:
    """Write the tables `train`, `validation`, `held_out` and `duplicates`, and the tree of files."""
    inputs = {"examples": examples.fingerprint}
    if params.write_tree:
        inputs["raw_examples"] = raw_examples.fingerprint
    place = locate(machine.data_root / "02_intermediate", "split", REVISION, params, inputs)
    raw = machine.data_root / raw_examples.summary["folder"]
    finished = filled(place, lambda work: _fill(work, examples, raw, params, ingest))
    return finished.only(TRAIN), finished.only(VALIDATION), finished.only(HELD_OUT), finished.only("duplicates")


def _fill(work: Work, examples: Finished, raw: Path, params: SplitParams, ingest: IngestParams) -> dict[str, Any]:
    index = read_index(examples.scan())
    sides = assign_sides(index, params)
    counts = {side: int((sides["side"] == side).sum()) for side in TABLES}
    if counts[TRAIN] == 0:
        raise NothingToTrainOn(
            f"Of {len(index)} examples none is left for training: {counts[VALIDATION]} validate and {counts[HELD_OUT]} "
            "are held out. With no example at all, the table `rejects` says why; else lower the shares of `split`."
        )
    tables = _write_tables(work, examples, index, sides)
    if params.write_tree:
        publish(News("split", message="writing the tree of files"))
        described = with_dataset_info(raw, ingest)
        write_tree(raw, index.select("file", "row").with_columns(sides["side"]), described, work.path / "tree")
    return {"tables": tables}


def _write_tables(work: Work, examples: Finished, index: pl.DataFrame, sides: pl.DataFrame) -> dict[str, object]:
    tables: dict[str, object] = {}
    for side in TABLES:
        file = f"{side}.parquet"
        if not work.is_committed(file):
            work.commit(file, partial(_write_side, examples, sides["side"] == side))
        tables[side] = describe(work.path, file, ("example_id", "content_hash"))
    duplicates = _list_duplicates(index, sides)
    work.commit("duplicates.parquet", duplicates.write_parquet)
    content = table_fingerprint(duplicates.iter_rows())
    return {**tables, "duplicates": {"file": "duplicates.parquet", "rows": duplicates.height, "fingerprint": content}}


def _list_duplicates(index: pl.DataFrame, sides: pl.DataFrame) -> pl.DataFrame:
    """The rows that repeat another one: their id, the other's, in what way, and where they are now."""
    places = index.select("file", "row")
    found = places.with_columns(sides).filter(pl.col("kind").is_not_null())
    return pl.DataFrame(
        {
            "example_id": _ids(found),
            "kept_id": _ids(places[found["kept"]]),
            "kind": found["kind"].cast(pl.String),
            "side": found["side"].cast(pl.String),
        },
        schema=dict.fromkeys(("example_id", "kept_id", "kind", "side"), pl.String()),
    )


def _ids(places: pl.DataFrame) -> list[str]:
    return [example_id(file, row) for file, row in places.select("file", "row").iter_rows()]


def _write_side(examples: Finished, wanted: pl.Series, path: Path) -> None:
    done = 0
    with pq.ParquetWriter(path, EXAMPLES) as writer:
        for batch in _batches(examples):
            chosen = batch.filter(wanted.slice(done, batch.num_rows).to_arrow())
            done += batch.num_rows
            if chosen.num_rows:
                writer.write_batch(chosen)
            publish(News("split", done=done, total=len(wanted), message=path.stem))
    assert done == len(wanted), "the index and the table are of different examples"


def _batches(examples: Finished) -> Iterator[pa.RecordBatch]:
    for file in sorted(examples.path.glob("examples/*.parquet")):
        with open_parquet(file) as parquet:
            yield from parquet.iter_batches(batch_size=BATCH_ROWS)
