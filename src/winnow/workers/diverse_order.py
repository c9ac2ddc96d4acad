"""Worker: the order in which k-center greedy takes rows, until the budget is full; one finished table per seed."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from winnow.baselines.farthest_first import Order
from winnow.baselines.files import read_embeddings
from winnow.params import BudgetParams
from winnow.stages import PARTS, Work
from winnow.workers.runtime import Worker, peak_memory_gb, run

# Rows between two states that a kill leaves.
KEPT_EVERY = 1000
FILES = tuple(f"{PARTS}/order-{number}.safetensors" for number in range(2))


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
    unit = "tokens" if budget.tokens else "rows"
    for seed, place in worker.job.places.items():
        start = time.monotonic()
        target = Work(place)
        first = int(np.random.default_rng(int(seed)).integers(len(points)))
        order = resumed(target) or Order.begun(first, len(points))
        kept = len(order.places)
        more = True
        while more and (taken := int(sizes[order.places].sum())) < enough:
            worker.report(done=taken, total=enough, unit=unit, message=f"seed {seed}")
            more = order.take_more(points, worker.device())
            if len(order.places) - kept >= KEPT_EVERY:
                keep(target, order)
                kept = len(order.places)
        count = min(int(np.searchsorted(sizes[order.places].cumsum(), enough)) + 1, len(order.places))
        table = pl.DataFrame(
            {
                "example_id": firsts["example_id"][order.places[:count]],
                "distance": 1.0 - order.cosines[:count].astype(np.float64),
            }
        )
        cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
        target.finish({"tables": target.commit_tables({"order": table})}, cost)
    return {}


def keep(target: Work, order: Order) -> None:
    """Commit what was taken to one of two files in turn: a kill amid one leaves the other."""
    used = {name: len(found.places) for name, found in _kept(target).items()}
    name = min(FILES, key=lambda file: used.get(file, 0))
    arrays = {"places": order.places, "cosines": order.cosines, "nearest": order.nearest}
    target.commit(name, partial(save_file, {**arrays, "known": np.array([order.known])}))


def resumed(target: Work) -> Order | None:
    """The longest order that was kept."""
    return max(_kept(target).values(), key=lambda order: len(order.places), default=None)


def _kept(target: Work) -> dict[str, Order]:
    found = {name: load_file(target.path / name) for name in FILES if target.is_committed(name)}
    return {
        name: Order(arrays["places"], arrays["cosines"], arrays["nearest"], int(arrays["known"][0]))
        for name, arrays in found.items()
    }


if __name__ == "__main__":
    run(work)
