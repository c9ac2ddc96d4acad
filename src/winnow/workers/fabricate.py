"""Worker: train the tiny base model, or the tiny mixture of experts."""

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
    ((kind, place),) = worker.job.places.items()
    target = Work(place)
    if kind == "selector":
        params, curve = params.model_copy(update={"model": params.selector}), "fabricate/selector_loss"
    else:
        curve = "fabricate/loss"
    parameters = train_base_model(target, params, worker.report, curve)
    cost = {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()}
    summary = {"pretrained": None, "revision": None, "trust_remote_code": False, "parameters": parameters}
    target.finish(summary, cost)
    return {}


if __name__ == "__main__":
    run(work)
