"""Worker: a few steps of a fine-tuning, to learn what they cost in this method on this engine."""

import time
from pathlib import Path
from typing import Any

from winnow.params import FinetuneParams
from winnow.records.tokenizer import load_tokenizer, padding_id
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Work
from winnow.training.cost import measure
from winnow.training.data import lay_out
from winnow.training.model import load_for_training, trainable
from winnow.training.plan import Plan
from winnow.workers.runtime import Worker, forget_peak_memory, peak_memory_gb, run

# All cells of a table train the same rows in the same order, and begin with the same adapter.
SEED = 0
STEPS = "steps.parquet"


def work(worker: Worker) -> dict[str, Any]:
    """Measure the one cell that was asked for."""
    task, machine, device = worker.job.task, worker.job.machine, worker.device()
    params = FinetuneParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    tokens = TokenTable.open(Path(task["tokens"]), "train")
    (place,) = worker.job.places.values()
    order, weights = lay_out(dict.fromkeys(tokens.ids, 1), SEED, params)
    pad_id = padding_id(load_tokenizer(base))
    plan = Plan(params, SEED, order, place.partial, base.fingerprint, pad_id, machine, device, weights=weights)
    forget_peak_memory()
    model = load_for_training(base, params, machine, device)
    with trainable(model, params, SEED, once=True) as ready:
        parameters = sum(parameter.numel() for parameter in ready.parameters() if parameter.requires_grad)
        found = measure(ready, tokens, plan, task["warmup_steps"], worker.report)
    peaks = _of_all_processes(worker, peak_memory_gb())
    if worker.is_main:
        work = Work(place)
        work.commit(STEPS, lambda path: found.steps.to_parquet(path, index=False))
        cost = {
            "seconds": time.time() - task["started"],
            "startup_seconds": found.began - task["started"],
            "step_seconds": found.step_seconds,
            "tokens_per_second": found.tokens_per_second,
            "supervised_tokens_per_second": found.supervised_tokens_per_second,
            "peak_memory_gb": max(peaks),
            "memory_sum_gb": sum(peaks),
            "loss": float(found.steps["loss"].iloc[-1]),
        }
        work.finish({"trainable_parameters": parameters}, cost)
    worker.barrier()
    return {}


def _of_all_processes(worker: Worker, value: float) -> list[float]:
    if worker.world_size == 1:
        return [value]
    from torch import distributed

    found = [0.0] * worker.world_size
    distributed.all_gather_object(found, value)
    return found


if __name__ == "__main__":
    run(work)
