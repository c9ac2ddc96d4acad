"""Worker: ask the benchmark tasks of every seed's model of one arm."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from lm_eval.tasks import TaskManager

from winnow.evaluation.benchmarks import SharedHarness, Sharing, ask_tasks
from winnow.evaluation.names import find_tasks
from winnow.evaluation.scores import group_table, sample_table, score_table
from winnow.params import EvaluateParams
from winnow.records.chat_template import chat_template, template_text
from winnow.records.tokenizer import load_tokenizer
from winnow.stages import PARTS, Finished, Work
from winnow.training.model import load_model, tuned
from winnow.workers.runtime import Worker, forget_peak_memory, peak_memory_gb, run

# The tables of a result, in the order of their writing, and what tells their rows apart.
KEYS = {
    "scores": ["task", "n_shot", "metric", "filter"],
    "samples": ["task", "n_shot", "filter", "doc_id"],
    "groups": ["group", "task"],
}
LAST = "groups"


def work(worker: Worker) -> dict[str, Any]:
    """Score the models that are missing, one call of the harness for each and each count of examples."""
    task = worker.job.task
    params = EvaluateParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    tokenizer = _tokenizer(base, params, task["template"])
    places = [Path(task["tasks"]) / "tasks", *params.own_tasks]
    manager = find_tasks(params.tasks, places, {"benchmarks": task["tasks"]})
    model = load_model(base, params.precision, worker.device())
    for name, place in worker.job.places.items():
        start = time.monotonic()
        forget_peak_memory()
        folder, target = task["models"].get(name), Work(place)
        with tuned(base, model, Finished.open(Path(folder)) if folder else None) as ready:
            for number, shots in enumerate(params.shots):
                report = partial(_report, worker, f"model {name}, {'own' if shots is None else shots} shots")
                sharing = Sharing(target, worker.rank, worker.world_size, worker.barrier, report)
                lm = SharedHarness(sharing, params.task_batch, pretrained=ready, tokenizer=tokenizer)
                _ask(worker, lm, manager, number, shots, params)
                worker.barrier()
        if worker.is_main:
            _seal(target, len(params.shots), time.monotonic() - start)
        worker.barrier()
    return {}


def _tokenizer(base: Finished, params: EvaluateParams, template: str | None) -> Any:
    tokenizer = load_tokenizer(base)
    if params.apply_chat_template:
        tokenizer.chat_template = chat_template(template_text(template), tokenizer)
    return tokenizer


def _report(worker: Worker, message: str, done: int, total: int) -> None:
    worker.report(done=done, total=total, unit="shards", message=message)


def _ask(
    worker: Worker, lm: SharedHarness, manager: TaskManager, call: int, shots: int | None, params: EvaluateParams
) -> None:
    """One call, whose tables are committed as the main process makes them."""
    target = lm.sharing.work
    if target.is_committed(_part(call, LAST)):
        return
    found = ask_tasks(lm, manager, shots, params)
    if worker.is_main:
        tables = {"scores": score_table(found, shots), "samples": sample_table(found), "groups": group_table(found)}
        for table in KEYS:
            target.commit(_part(call, table), tables[table].write_parquet)


def _seal(target: Work, calls: int, seconds: float) -> None:
    """All calls in one table each."""
    tables = {name: _joined(target, name, calls) for name in KEYS}
    target.finish({"tables": target.commit_tables(tables)}, {"seconds": seconds, "peak_memory_gb": peak_memory_gb()})


def _part(call: int, table: str) -> str:
    return f"{PARTS}/{call:02}/{table}.parquet"


def _joined(target: Work, name: str, calls: int) -> pl.DataFrame:
    """A task that has its count of examples fixed gives the same in each call: it is kept once."""
    parts = [pl.read_parquet(target.path / _part(number, name)) for number in range(calls)]
    return pl.concat(parts, how="diagonal").unique(KEYS[name], keep="first", maintain_order=True)


if __name__ == "__main__":
    run(work)
