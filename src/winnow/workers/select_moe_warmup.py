"""Worker: train a selector's routers, with checkpoints of the gates alone."""

from functools import partial
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import manual_seed

from winnow.moe.convert import load_gates, widen
from winnow.moe.training import TOKENS, SelectorTraining
from winnow.params import SelectMoeParams
from winnow.records.tokenizer import load_tokenizer, padding_id
from winnow.records.tokens import TokenTable
from winnow.stages import Finished, Work
from winnow.training.data import expand
from winnow.training.finetune import train
from winnow.training.model import load_model
from winnow.training.plan import Plan
from winnow.workers.runtime import Worker, peak_memory_gb, run

CURVE = "select_moe/loss"


def work(worker: Worker) -> dict[str, Any]:
    """Train, and seal the gates."""
    task = worker.job.task
    params = SelectMoeParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    place = worker.job.places["select_moe_warmup"]
    tokens, tokenizer, device = TokenTable.open(Path(task["tokens"]), "train"), load_tokenizer(base), worker.device()
    model = load_model(base, params.dtype, device)
    converted = Path(task["converted"])
    routers = widen(model, converted)
    model.requires_grad_(False)
    if params.warmup.method == "lora":
        model = _adapted(model, params)
    else:
        for router in routers.values():
            router.requires_grad_(True)
    module = SelectorTraining(model, routers, load_gates(converted)[1], params)
    warmup = params.warmup
    order = expand(dict.fromkeys(task["rows"], 1), warmup.seed, warmup.steps, warmup.epochs, warmup.batch)
    machine = worker.job.machine
    plan = Plan(
        warmup,
        warmup.seed,
        order,
        place.partial,
        base.fingerprint,
        padding_id(tokenizer),
        machine,
        device,
        curve=CURVE,
        is_main=worker.is_main,
        barrier=worker.barrier,
        told=module.told,
        count_tokens_as=TOKENS if params.tokens == "all" else None,
    )
    cost = train(module, tokens, plan, partial(worker.report, message="routers"))
    if worker.is_main:
        trained = sum(value.numel() for value in module.trained.values())
        summary = {"rows": len(task["rows"]), "steps": plan.steps, "trained": trained, "method": warmup.method}
        Work(place).finish(summary, {**cost, "peak_memory_gb": peak_memory_gb()})
    worker.barrier()
    return {}


def _adapted(model: Any, params: SelectMoeParams) -> Any:
    """Low-rank adapters of the gates; dropout is not for parameters."""
    manual_seed(params.warmup.seed)
    lora = params.warmup.lora
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=[],
        target_parameters=["gate.weight"],
    )
    return get_peft_model(model, config)


if __name__ == "__main__":
    run(work)
