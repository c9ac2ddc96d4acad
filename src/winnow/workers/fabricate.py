"""Worker: train the tiny base model."""

import time
from typing import Any

from winnow.fabricate.base_model import train_base_model
from winnow.params import FabricateParams
from winnow.stages import Work
from winnow.workers.runtime import Worker, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Train it, and seal the model's folder."""
    start = time.monotonic()
    params = FabricateParams.model_validate(worker.job.task["params"])
    target = Work(worker.job.places["base"])
    parameters = train_base_model(target, params, worker.report)
    cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
    summary = {"pretrained": None, "revision": None, "trust_remote_code": False, "parameters": parameters}
    target.finish(summary, cost)
    return {}


if __name__ == "__main__":
    run(work)
