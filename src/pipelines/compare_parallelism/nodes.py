"""What each cell of the table costs, one after the other; what cannot be measured says why, and the others go on."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from winnow.errors import BadSetting, MissingResource, WinnowError, WorkerFailed
from winnow.params import CompareParallelismParams, FinetuneParams, Machine, Method, Sharing
from winnow.report.parallelism import draw_parallelism, parallelism_table
from winnow.report.trainer_logs import read_trainer_log
from winnow.stages import Finished, FinishedParts, Place, locate, require_build
from winnow.workers.devices import device_of
from winnow.workers.engines import require_trainable
from winnow.workers.extensions import build_missing, deepspeed_environment
from winnow.workers.launch import built
from winnow.workers.runtime import threads_per_process

STAGE = "training_cost"
REVISION = 1
STEPS = "steps.parquet"
Told = tuple[dict[str, Any], dict[str, float], pd.DataFrame]
_log = logging.getLogger(__name__)


def measure(method: Method, engine: Sharing) -> Callable[..., tuple[FinishedParts, *Told]]:
    """A node function that trains a few steps in this method on this engine."""

    def measure_cell(
        tokens: Finished,
        base_model: Finished,
        params: CompareParallelismParams,
        finetune: FinetuneParams,
        machine: Machine,
    ) -> tuple[FinishedParts, *Told]:
        settings, own = settings_of(method, params, finetune), machine_of(engine, params, machine)
        cost = cost_of({"method": method, "engine": engine}, tokens, base_model, params, settings, own)
        return (cost, *tell(cost))

    return measure_cell


def cost_of(
    cell: Mapping[str, Any],
    tokens: Finished,
    base_model: Finished,
    params: CompareParallelismParams,
    settings: FinetuneParams,
    machine: Machine,
) -> FinishedParts:
    """The finished measurement, or none and the reason."""
    said = {"framework": "winnow", **cell, "processes": machine.processes}
    try:
        require_trainable(settings, machine)
        kind, device = device_of(machine)
    except (BadSetting, MissingResource) as error:
        return FinishedParts({}, {**said, "status": "impossible", "reason": str(error)})
    machine = machine.model_copy(update={"device": kind})
    rows, threads = settings.batch // machine.processes, threads_per_process(machine)
    said |= {"batch": settings.batch, "micro_batch": min(machine.micro_batch or rows, rows)}
    said |= {"threads": threads, "device": device}
    # A result does not depend on where it is computed; its cost does.
    own = machine.model_dump(mode="json", include={"engine", "processes", "micro_batch", "gradient_checkpointing"})
    decisive = {
        "finetune": settings.model_dump(mode="json", exclude={"steps"}),
        "compare_parallelism": params.model_dump(include={"steps", "warmup_steps"}),
        "machine": {**own, "threads": threads, "device": device},
    }
    inputs = {"tokens": tokens.fingerprint, "base_model": base_model.fingerprint}
    place = locate(machine.data_root / "08_reporting", STAGE, REVISION, decisive, inputs)
    task = {"params": settings.model_dump(mode="json"), "warmup_steps": params.warmup_steps}
    task |= {"base_model": str(base_model.path), "tokens": str(tokens.path)}
    try:
        return FinishedParts({"cell": _measured(place, task, machine)}, {**said, "status": "measured"})
    except WinnowError as error:
        _log.warning("%s failed, the next run tries it again: %s", " on ".join(cell.values()), error)
        return FinishedParts({}, {**said, "status": "failed", "reason": shortest(error)})


def settings_of(method: Method, params: CompareParallelismParams, finetune: FinetuneParams) -> FinetuneParams:
    """The fine-tuning of a cell: its steps alone, without what is saved or looked at meanwhile."""
    return finetune.alone(params.steps).model_copy(update={"method": method})


def machine_of(engine: Sharing, params: CompareParallelismParams, machine: Machine) -> Machine:
    """Every cell starts anew: a process that was forked from one with all loaded would seem to start in no time."""
    sharing = {"processes": 1, "engine": "ddp"} if engine == "single" else {"processes": params.processes}
    own = {"engine": engine, **sharing, "accelerate_config": None, "forkserver": False}
    return machine.model_copy(update=own)


def _measured(place: Place, task: dict[str, Any], machine: Machine) -> Finished:
    if place.finished() is None:
        require_build([place])
        # What is compiled once on a machine is no part of a start.
        build_missing(machine, deepspeed_environment(machine))
    return built(STAGE, {**task, "started": time.time()}, place, machine)


def shortest(error: WinnowError) -> str:
    """One line of an error: of a worker that died its own last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1 if isinstance(error, WorkerFailed) else 0]


def tell(cost: FinishedParts) -> Told:
    """A cell for the tracker: what it is, what it cost, and each of its steps."""
    settings = {"params": cost.summary, "tags": {"winnow.status": str(cost.summary["status"])}}
    if not cost.parts:
        return settings, {}, pd.DataFrame({"step": []})
    found = cost.parts["cell"]
    metrics = {f"cost/{name}": float(value) for name, value in {**found.cost, **found.summary}.items()}
    steps = pd.read_parquet(found.path / STEPS).rename(columns={"seconds": "curve/step_seconds", "loss": "curve/loss"})
    return settings, metrics, steps


def read_log(name: str) -> Callable[..., Told]:
    """A node function that reads what another trainer wrote of its own training."""

    def read_one(params: CompareParallelismParams) -> Told:
        file = params.logs[name]
        log = read_trainer_log(file.expanduser())
        said = {"framework": log.framework, "log": name, "file": str(file), "status": "imported"}
        costs = {f"cost/{kind}": value for kind, value in log.costs.items()}
        curves = {kind: f"curve/{kind}" for kind in log.curve.columns.drop("step")}
        return {"params": said, "tags": {"winnow.status": "imported"}}, costs, log.curve.rename(columns=curves)

    return read_one


def compare(*told: dict[str, Any]) -> tuple[pd.DataFrame, Figure]:
    """All cells as one table: first what each of them is, then, in the same order, what each of them cost."""
    half = len(told) // 2
    table = parallelism_table([one["params"] for one in told[:half]], told[half:])
    return table, draw_parallelism(table)
