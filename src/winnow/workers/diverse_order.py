"""Worker: the order in which k-center greedy takes rows, until the budget is full; one finished table per seed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from winnow.baselines.farthest_first import farthest_first
from winnow.baselines.files import read_embeddings
from winnow.params import BudgetParams
from winnow.stages import Work
from winnow.workers.runtime import Worker, peak_memory_gb, run

NEWS_EVERY = 100
ORDER = {"example_id": pl.String, "distance": pl.Float64}


def work(worker: Worker) -> dict[str, Any]:
    """Order the rows for each seed that is missing."""
    task = worker.job.task
    budget = BudgetParams.model_validate(task["budget"])
    folder = Path(task["row_scores"])
    points = read_embeddings(folder)
    rows = pl.read_parquet(folder / "row_scores.parquet").sort("embedding", "example_id")
    # Of equal rows the first: the others are as near to it as can be.
    firsts = rows.unique("embedding", keep="first", maintain_order=True)
    sizes = firsts["n_tokens"].to_numpy() if budget.tokens else np.ones(firsts.height, np.int64)
    enough = budget.tokens or budget.rows or int((budget.share or 0) * rows.height)
    for seed, place in worker.job.places.items():
        start = time.monotonic()
        chosen, taken = [], 0
        first = int(np.random.default_rng(int(seed)).integers(len(points)))
        for row, cosine in farthest_first(points, first, worker.device()):
            if taken >= enough:
                break
            chosen.append((firsts["example_id"][row], 1.0 - cosine))
            taken += int(sizes[row])
            if len(chosen) % NEWS_EVERY == 0:
                unit = "tokens" if budget.tokens else "rows"
                worker.report(done=min(taken, enough), total=enough, unit=unit, message=f"seed {seed}")
        target = Work(place)
        table = pl.DataFrame(chosen, schema=ORDER, orient="row")
        cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
        target.finish({"tables": target.commit_tables({"order": table})}, cost)
    return {}


if __name__ == "__main__":
    run(work)
