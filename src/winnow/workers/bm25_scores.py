"""Worker: BM25 of every row for the rows of each subtask, as queries; shards of rows are shared by processes.

The words that queries have are counted in each row, shard by shard. Once all rows are counted, how rare each word is is
known, and the shards are scored, each of them again by one process.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file
from scipy import sparse

from winnow.baselines.bm25 import Bm25, Counts, count, vocabulary
from winnow.baselines.groups import Subtasks, part, read_parts, seal, write_part
from winnow.baselines.words import words_of
from winnow.params import BaselinesParams, Bm25Params
from winnow.stages import PARTS, Work
from winnow.workers.runtime import Worker, peak_memory_gb, run

SHARD_ROWS = 10_000
BLOCK_BYTES = 64 << 20


def work(worker: Worker) -> dict[str, Any]:
    """Count what is missing, and score."""
    start = time.monotonic()
    task = worker.job.task
    targets = pl.read_parquet(task["targets"]).sort("example_id")
    queries = [words_of(messages) for messages in targets["messages"].to_list()]
    places = vocabulary(queries)
    train = pl.scan_parquet(task["train"])
    usable = pl.scan_parquet(task["lengths"]).filter(pl.col("split") == "train").select("example_id").collect()
    ids = train.select("example_id").collect()["example_id"]
    target = Work(worker.job.places["bm25_scores"])
    shards = [(number, train.slice(first, SHARD_ROWS)) for number, first in enumerate(range(0, len(ids), SHARD_ROWS))]
    for number, shard in shards:
        if number % worker.world_size == worker.rank and not target.is_committed(_name(number)):
            rows = shard.select("example_id", "messages").collect().join(usable, on="example_id", how="semi")
            counts = count([words_of(messages) for messages in rows["messages"].to_list()], places)
            target.commit(_name(number), partial(_write, counts=counts))
            worker.report(done=min(len(ids), (number + 1) * SHARD_ROWS), total=len(ids), unit="rows", message="words")
    worker.barrier()
    subtasks = Subtasks([task["labels"][name] for name in targets["example_id"]])
    wanted = count([queries[place] for place in subtasks.order], places)
    files = [target.path / _name(number) for number, _ in shards]
    bm25 = _ready(files, wanted, BaselinesParams.model_validate(task["params"]).bm25)
    for number, file in enumerate(files):
        if number % worker.world_size == worker.rank and not target.is_committed(part(number)):
            best = _best(bm25, _read(file, len(places)), subtasks)
            target.commit(part(number), partial(write_part, scores=best))
            worker.report(done=min(len(ids), (number + 1) * SHARD_ROWS), total=len(ids), unit="rows", message="scores")
    worker.barrier()
    if worker.is_main:
        known = ids.filter(ids.is_in(usable["example_id"].implode())).to_list()
        cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
        seal(target, known, read_parts(target, len(files)), subtasks.names, cost)
    worker.barrier()
    return {}


def _ready(files: Sequence[Path], queries: Counts, params: Bm25Params) -> Bm25:
    """The queries, with how long the rows of all shards are and how rare words are in them."""
    texts, words, texts_with = 0, 0, np.zeros(queries.times.shape[1], np.int64)
    for file in files:
        counts = _read(file, len(texts_with))
        texts, words = texts + len(counts.lengths), words + int(counts.lengths.sum())
        texts_with += counts.texts_with
    return Bm25(queries, texts, texts_with, words, params.k1, params.b)


def _best(bm25: Bm25, rows: Counts, subtasks: Subtasks) -> np.ndarray:
    """The best score of each row for the queries of each subtask [rows, subtasks]."""
    step = max(1, BLOCK_BYTES // (8 * bm25.queries.shape[1]))
    blocks = [slice(first, first + step) for first in range(0, max(1, len(rows.lengths)), step)]
    return np.concatenate([subtasks.best(bm25.scores(Counts(rows.times[at], rows.lengths[at]))) for at in blocks])


def _name(number: int) -> str:
    return f"{PARTS}/counts-{number:05}.safetensors"


def _write(path: Path, counts: Counts) -> None:
    arrays = {name: getattr(counts.times, name) for name in ("data", "indices", "indptr")}
    save_file({**arrays, "lengths": counts.lengths}, path)


def _read(file: Path, words: int) -> Counts:
    found = load_file(file)
    parts = (found["data"], found["indices"], found["indptr"])
    return Counts(sparse.csr_matrix(parts, shape=(len(found["lengths"]), words)), found["lengths"])


if __name__ == "__main__":
    run(work)
