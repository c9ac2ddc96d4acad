"""Which rows train, which validate, which are held out."""

import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.params import IngestParams, Machine, SplitParams
from winnow.progress import News, publish
from winnow.records.ingest import EXAMPLES
from winnow.records.tree import write_tree
from winnow.splits import HELD_OUT, TRAIN, VALIDATION, assign_sides, read_index
from winnow.stages import Finished, Work, locate, require_build, table_fingerprint

REVISION = 1
SIDES = (TRAIN, VALIDATION, HELD_OUT)
BATCH_ROWS = 2000


def split(
    examples: Finished, raw_examples: Finished, params: SplitParams, ingest: IngestParams, machine: Machine
) -> tuple[Finished, Finished, Finished, Finished]:
    """Write the tables `train`, `validation`, `held_out` and `duplicates`, and the tree of files."""
    inputs = {"examples": examples.fingerprint}
    if params.write_tree:
        inputs["raw_examples"] = raw_examples.fingerprint
    place = locate(machine.data_root / "02_intermediate", "split", REVISION, params, inputs)
    finished = place.finished()
    if finished is None:
        require_build([place])
        start = time.monotonic()
        with Work.resume(place) as work:
            sides = assign_sides(read_index(examples.scan()), params)
            tables = _write_tables(work, examples, sides)
            if params.write_tree:
                publish(News("split", message="writing the tree of files"))
                raw = machine.data_root / raw_examples.summary["folder"]
                rows = sides.with_columns(pl.col("file").cast(pl.String), _row_of("example_id"))
                write_tree(raw, rows.select("file", "row", "side"), ingest, work.path / "tree")
            finished = work.finish({"tables": tables}, {"seconds": time.monotonic() - start})
    return finished.only(TRAIN), finished.only(VALIDATION), finished.only(HELD_OUT), finished.only("duplicates")


def _row_of(column: str) -> pl.Expr:
    return pl.col(column).str.extract(r":(\d+)$", 1).cast(pl.Int64).alias("row")


def _write_tables(work: Work, examples: Finished, sides: pl.DataFrame) -> dict[str, dict[str, object]]:
    tables = {}
    for side in SIDES:
        file = f"{side}.parquet"
        if not work.is_committed(file):
            work.commit(file, lambda path, side=side: _write_side(path, examples, sides["side"] == side))
        index = pl.scan_parquet(work.path / file).select("example_id", "content_hash").collect(engine="streaming")
        tables[side] = {"file": file, "rows": index.height, "fingerprint": table_fingerprint(index.iter_rows())}
    duplicates = sides.filter(pl.col("kind").is_not_null()).select("example_id", "kept_id", "kind", "side")
    work.commit("duplicates.parquet", duplicates.write_parquet)
    content = table_fingerprint(duplicates.iter_rows())
    return {**tables, "duplicates": {"file": "duplicates.parquet", "rows": duplicates.height, "fingerprint": content}}


def _write_side(path: Path, examples: Finished, wanted: pl.Series) -> None:
    done = 0
    with pq.ParquetWriter(path, EXAMPLES) as writer:
        for batch in _batches(examples):
            mask = wanted.slice(done, batch.num_rows).to_arrow()
            done += batch.num_rows
            chosen = batch.filter(mask)
            if chosen.num_rows:
                writer.write_batch(chosen)
            publish(News("split", done=done, total=len(wanted)))
    assert done == len(wanted), "the index and the table are of different examples"


def _batches(examples: Finished) -> Iterator[pa.RecordBatch]:
    for file in sorted(examples.path.glob("examples/*.parquet")):
        with pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(batch_size=BATCH_ROWS)
