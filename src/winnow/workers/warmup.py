"""Worker: one warm-up training with many checkpoints; or the moments of another trainer's checkpoints."""

from functools import partial
from pathlib import Path
from typing import Any

from winnow.checkpoints import optimizer_layout, steps_in
from winnow.params import WarmupParams
from winnow.records.tokenizer import load_tokenizer, padding_id
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Place, Work
from winnow.training.checkpoints import keep_moments, load_checkpoint
from winnow.training.data import lay_out
from winnow.training.finetune import train
from winnow.training.model import load_for_training, load_model, trainable
from winnow.training.plan import Plan
from winnow.workers.runtime import Worker, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Train, or adopt what is there."""
    task = worker.job.task
    params = WarmupParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    place = worker.job.places["warmup"]
    if params.folder is None:
        _train(worker, place, params, base)
    elif worker.is_main:
        _adopt(Work(place), params.folder, base, params)
    worker.barrier()
    return {}


def _train(worker: Worker, place: Place, params: WarmupParams, base: Finished) -> None:
    task = worker.job.task
    tokens = TokenTable.open(Path(task["tokens"]), "train")
    tokenizer, device, machine = load_tokenizer(base), worker.device(), worker.job.machine
    order, weights = lay_out(task["rows"], params.seed, params)
    plan = Plan(
        params,
        params.seed,
        order,
        place.partial,
        base.fingerprint,
        padding_id(tokenizer),
        machine,
        device,
        weights=weights,
        record=params.record,
        curve=f"warmup/loss/{task['name']}",
        is_main=worker.is_main,
        barrier=worker.barrier,
    )
    model = load_for_training(base, params, machine, device)
    with trainable(model, params, params.seed, once=True) as ready:
        cost = train(ready, tokens, plan, partial(worker.report, message=""))
    if worker.is_main:
        rows = sum(task["rows"].values())
        summary = {"from": None, "steps": steps_in(place.partial), "rows": rows, "method": params.method}
        Work(place).finish(summary, {**cost, "peak_memory_gb": peak_memory_gb()})


def _adopt(target: Work, folder: Path, base: Finished, params: WarmupParams) -> None:
    """Record the checkpoints where they are, and keep their moments here."""
    model: Any = load_model(base, params.precision, "cpu")
    steps = steps_in(folder)
    for step in steps:
        checkpoint = folder / f"checkpoint-{step}"
        model = load_checkpoint(model, checkpoint)
        if params.moments and optimizer_layout(checkpoint) is not None:
            kept = target.path / f"checkpoint-{step}"
            kept.mkdir(parents=True, exist_ok=True)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(params.method == "full" or "lora_" in name)
            keep_moments(checkpoint, model, kept)
    target.finish({"from": folder.resolve().as_posix(), "steps": steps, "rows": 0, "method": params.method}, {})


if __name__ == "__main__":
    run(work)
