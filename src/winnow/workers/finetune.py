"""Worker: fine-tune the base model on several mixes, such as those of an arm's seeds, with one start-up."""

from functools import partial
from pathlib import Path
from typing import Any

from winnow.params import FinetuneParams
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Work
from winnow.training.data import expand
from winnow.training.finetune import Plan, train
from winnow.training.model import load_model, trainable
from winnow.workers.runtime import Worker, forget_peak_memory, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Train the models that are missing."""
    task = worker.job.task
    params = FinetuneParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    tokens = TokenTable.open(Path(task["tokens"]), "train")
    tokenizer = load_tokenizer(base)
    device = worker.device()
    precision = params.precision if params.method == "lora" else "fp32"
    model = load_model(base, precision, device)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for name, place in worker.job.places.items():
        seed = task["seeds"][name]
        order = expand(task["mixes"][name], seed, params.steps, params.epochs, params.batch)
        plan = Plan(params, seed, order, place.partial, _public_name(base), pad_id, worker.job.machine, device)
        forget_peak_memory()
        with trainable(model, params, seed) as ready:
            cost = train(ready, tokens, plan, partial(worker.report, message=f"seed {seed}"))
        if worker.is_main:
            Work(place).finish({"seed": seed, "steps": plan.steps}, {**cost, "peak_memory_gb": peak_memory_gb()})
        worker.barrier()
    return {}


def _public_name(base: Finished) -> str:
    """What an adapter calls its base model: the hub id, or a fingerprint where that would be a folder here."""
    pretrained = str(base.summary.get("pretrained") or "")
    return base.fingerprint if not pretrained or Path(pretrained).is_absolute() else pretrained


if __name__ == "__main__":
    run(work)
