"""Worker: fine-tune the base model on several mixes, such as those of an arm's seeds, with one start-up."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from winnow.params import FinetuneParams
from winnow.records.prompts import Prompt
from winnow.records.tokenizer import load_tokenizer, padding_id
from winnow.records.tokens import TokenRow, TokenTable
from winnow.stages import Finished, Work
from winnow.training.data import lay_out
from winnow.training.finetune import train
from winnow.training.model import load_for_training, trainable
from winnow.training.plan import Plan
from winnow.training.watch import Watch
from winnow.workers.runtime import Worker, forget_peak_memory, free_memory, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Train the models that are missing."""
    task, machine, device = worker.job.task, worker.job.machine, worker.device()
    params = FinetuneParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    tokens = TokenTable.open(Path(task["tokens"]), "train")
    tokenizer = load_tokenizer(base)
    # An engine that cuts weights or wraps parameters leaves nothing that a second training could begin with.
    once = machine.engine != "ddp"
    model = None if once else load_for_training(base, params, machine, device)
    for name, place in worker.job.places.items():
        seed = task["seeds"][name]
        order, weights = lay_out(task["mixes"][name], seed, params)
        plan = Plan(
            params,
            seed,
            order,
            place.partial,
            _public_name(base),
            padding_id(tokenizer),
            machine,
            device,
            weights=weights,
            watch=watch(task, params, tokenizer, place.partial),
            is_main=worker.is_main,
            barrier=worker.barrier,
        )
        forget_peak_memory()
        report = partial(worker.report, message=f"seed {seed}")
        with trainable(model or load_for_training(base, params, machine, device), params, seed, once) as ready:
            cost = train(ready, tokens, plan, report)
        del ready
        if worker.is_main:
            Work(place).finish({"seed": seed, "steps": plan.steps}, {**cost, "peak_memory_gb": peak_memory_gb()})
        worker.barrier()
        free_memory()
    return {}


def watch(task: dict[str, Any], params: FinetuneParams, tokenizer: Any, folder: Path) -> Watch | None:
    """What is looked at while the model is trained."""
    if not (params.validation_rows or task["prompts"]):
        return None
    prompts = [Prompt(**prompt) for prompt in task["prompts"]]
    rows = validation_rows(TokenTable.open(Path(task["tokens"]), "validation"), params.validation_rows)
    options = params.samples
    return Watch(folder, tokenizer, task["template"], rows, prompts, options.every, options.max_new_tokens)


def validation_rows(table: TokenTable, count: int) -> list[TokenRow]:
    """At most so many, at random, the same every time."""
    ids = sorted(table.ids)
    kept = np.random.default_rng(0).permutation(len(ids))[:count]
    return table.rows([ids[place] for place in sorted(kept)])


def _public_name(base: Finished) -> str:
    """What an adapter calls its base model: the hub id, or a fingerprint where that would be a folder here."""
    pretrained = str(base.summary.get("pretrained") or "")
    return base.fingerprint if not pretrained or Path(pretrained).is_absolute() else pretrained


if __name__ == "__main__":
    run(work)
