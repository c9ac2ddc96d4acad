"""Worker: a mixture of experts with trash-can experts in its routers."""

import time
from pathlib import Path
from typing import Any

from winnow.moe.convert import convert
from winnow.params import SelectMoeParams
from winnow.stages import Finished, Work
from winnow.workers.runtime import Worker, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Convert, and seal."""
    start = time.monotonic()
    task = worker.job.task
    params = SelectMoeParams.model_validate(task["params"])
    target = Work(worker.job.places["select_moe_convert"])

    def tell(done: int, total: int) -> None:
        worker.report(done=done, total=total, unit="files", message="full checkpoint")

    summary = convert(target, Finished.open(Path(task["base_model"])), params, worker.device(), tell)
    target.finish(summary, {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()})
    return {}


if __name__ == "__main__":
    run(work)
