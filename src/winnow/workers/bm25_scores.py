"""Worker: BM25 of every row for the rows of each subtask, as queries; shards of rows are shared by processes.

The words that queries have are counted in each row, shard by shard. Once all rows are counted, how rare each word is is
known, and the shards are scored.
"""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file
from scipy import sparse

from winnow.baselines.bm25 import Bm25, Counts, count, vocabulary
from winnow.baselines.groups import Subtasks, seal
from winnow.baselines.words import words_of
from winnow.params import BaselinesParams
from winnow.stages import Work
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
            worker.report(done=min(len(ids), (number + 1) * SHARD_ROWS), total=len(ids), unit="rows")
    worker.barrier()
    if worker.is_main:
        params = BaselinesParams.model_validate(task["params"]).bm25
        subtasks = Subtasks([task["labels"][name] for name in targets["example_id"]])
        files = [target.path / _name(number) for number, _ in shards]
        wanted = count([queries[place] for place in subtasks.order], places)
        best = _scores(files, wanted, subtasks, params.k1, params.b)
        known = ids.filter(ids.is_in(usable["example_id"].implode())).to_list()
        shutil.rmtree(target.path / "shards", ignore_errors=True)
        cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
        seal(target, known, best, subtasks.names, cost)
    worker.barrier()
    return {}


def _scores(files: list[Path], queries: Counts, subtasks: Subtasks, k1: float, b: float) -> np.ndarray:
    """The best score of each row for the queries of each subtask [rows, subtasks]."""
    parts = [_read(file, queries.times.shape[1]) for file in files]
    texts_with = np.sum([part.texts_with for part in parts], axis=0)
    lengths = np.concatenate([part.lengths for part in parts])
    bm25 = Bm25(queries, len(lengths), texts_with, int(lengths.sum()), k1, b)
    step = max(1, BLOCK_BYTES // (8 * len(queries.lengths)))
    best = [
        subtasks.best(bm25.scores(Counts(part.times[first : first + step], part.lengths[first : first + step])))
        for part in parts
        for first in range(0, len(part.lengths), step)
    ]
    return np.concatenate(best)


def _name(number: int) -> str:
    return f"shards/{number:05}.safetensors"


def _write(path: Path, counts: Counts) -> None:
    arrays = {name: getattr(counts.times, name) for name in ("data", "indices", "indptr")}
    save_file({**arrays, "lengths": counts.lengths}, path)


def _read(file: Path, words: int) -> Counts:
    found = load_file(file)
    parts = (found["data"], found["indices"], found["indptr"])
    return Counts(sparse.csr_matrix(parts, shape=(len(found["lengths"]), words)), found["lengths"])


if __name__ == "__main__":
    run(work)
