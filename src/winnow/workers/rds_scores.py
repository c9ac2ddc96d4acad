"""Worker: the cosine of every row's embedding with the nearest row of each subtask (RDS+)."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from winnow.baselines.files import read_embeddings
from winnow.baselines.groups import Subtasks, labelled, part, read_parts, seal, write_part
from winnow.baselines.row_pass import RowPass
from winnow.batching import planned_batches
from winnow.params import BaselinesParams
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Work
from winnow.training.model import load_model
from winnow.workers.runtime import Worker, peak_memory_gb, run

BLOCK_BYTES = 64 << 20


def work(worker: Worker) -> dict[str, Any]:
    """Embed the targets' rows, and compare the pool with them block by block."""
    start = time.monotonic()
    task = worker.job.task
    params = BaselinesParams.model_validate(task["params"])
    tokens = TokenTable.open(Path(task["target_tokens"]), "validation")
    names = sorted(tokens.ids)
    subtasks = Subtasks(labelled(names, task["labels"]))
    queries = _embedded(worker, tokens, names, params)[subtasks.order]
    pool = Path(task["row_scores"])
    target = Work(worker.job.places["rds_scores"])
    best = nearest(read_embeddings(pool), queries, subtasks, worker, target)
    rows = pl.read_parquet(pool / "row_scores.parquet", columns=["example_id", "embedding"])
    cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
    seal(target, rows["example_id"].to_list(), best[rows["embedding"].to_numpy()], subtasks.names, cost)
    return {}


def _embedded(worker: Worker, tokens: TokenTable, names: list[str], params: BaselinesParams) -> np.ndarray:
    model = load_model(Finished.open(Path(worker.job.task["base_model"])), params.precision, worker.device())
    row_pass = RowPass(model)
    rows = tokens.rows(names)
    batches = planned_batches([len(row.input_ids) for row in rows], params.batch, params.batch_tokens)
    parts = [row_pass.embeddings([rows[place] for place in batch]) for batch in batches]
    found = np.concatenate(parts)
    order = np.concatenate([np.array(batch) for batch in batches])
    return found[np.argsort(order)]


def nearest(
    embeddings: np.ndarray, queries: np.ndarray, subtasks: Subtasks, worker: Worker, target: Work
) -> np.ndarray:
    """The largest cosine with the queries of each subtask [embeddings, subtasks], block by block."""
    device = worker.device()
    across = torch.from_numpy(queries.astype(np.float32)).to(device).T
    step = max(1, BLOCK_BYTES // (4 * sum(across.shape)))
    starts = range(0, len(embeddings), step)
    for number, first in enumerate(starts):
        if not target.is_committed(part(number)):
            block = torch.from_numpy(np.array(embeddings[first : first + step], np.float32)).to(device)
            best = subtasks.best((block @ across).cpu().numpy())
            target.commit(part(number), partial(write_part, scores=best))
            worker.report(done=min(first + step, len(embeddings)), total=len(embeddings), unit="rows")
    return read_parts(target, len(starts))


if __name__ == "__main__":
    run(work)
