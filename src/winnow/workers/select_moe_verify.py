"""Worker: whether a converted mixture of experts is its base model with trash rows, and nothing else."""

import time
from pathlib import Path
from typing import Any

from winnow.moe.verify import verify
from winnow.params import SelectMoeParams
from winnow.stages import Finished, Work
from winnow.workers.runtime import Worker, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Compare, fail at the first difference, and seal."""
    start = time.monotonic()
    task = worker.job.task
    params = SelectMoeParams.model_validate(task["params"])
    converted = Finished.open(Path(task["converted"]))
    report = verify(Finished.open(Path(task["base_model"])), converted, params, worker.device())
    report.require(converted)
    target = Work(worker.job.places["select_moe_verify"])
    tables = target.commit_tables({"checks": report.table()})
    cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
    target.finish({"tables": tables, "checks": len(report.checks)}, cost)
    return {}


if __name__ == "__main__":
    run(work)
