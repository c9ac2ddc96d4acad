"""Worker: let every seed's model of one arm answer the questions of a split."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from winnow.evaluation.answers import answer_forced, answer_generated, harness
from winnow.evaluation.questions import Question, ask
from winnow.params import EvaluateParams
from winnow.records.tokenizer import load_tokenizer
from winnow.stages import Finished, Place, Work, table_fingerprint
from winnow.training.model import load_model, tuned
from winnow.workers.runtime import Worker, peak_memory_gb, run

BATCHES_PER_SHARD = 4


def work(worker: Worker) -> dict[str, Any]:
    """Score the models that are missing; shards of planned batches are shared among the processes."""
    task = worker.job.task
    params = EvaluateParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    tokenizer = load_tokenizer(base)
    template = Path(task["template"]).read_text(encoding="utf-8") if task["template"] else None
    questions = ask(pl.scan_parquet(task["table"]), tokenizer, template, task["max_length"], params.limit)
    model = load_model(base, params.precision, worker.device())
    total = len(questions) * len(worker.job.places)
    for number, (name, place) in enumerate(worker.job.places.items()):
        start = time.monotonic()
        folder = task["models"].get(name)
        with tuned(base, model, Finished.open(Path(folder)) if folder else None) as ready:
            _answer_shards(worker, place, harness(ready, tokenizer, params.batch), questions, params, number, total)
        worker.barrier()
        if worker.is_main:
            _seal(place, questions, time.monotonic() - start)
        worker.barrier()
    return {}


def _answer_shards(
    worker: Worker,
    place: Place,
    lm: Any,
    questions: Sequence[Question],
    params: EvaluateParams,
    number: int,
    total: int,
) -> None:
    rows = params.batch * BATCHES_PER_SHARD
    target = Work(place)
    for shard, start in enumerate(range(0, len(questions), rows)):
        name = f"shards/{shard:05}.parquet"
        if shard % worker.world_size != worker.rank or target.is_committed(name):
            continue
        asked = questions[start : start + rows]
        if params.decoding == "generate":
            answers = answer_generated(lm, asked, params.max_new_tokens)
        else:
            answers = answer_forced(lm, asked)
        target.commit(name, answers.write_parquet)
        worker.report(done=number * len(questions) + start + len(asked), total=total, unit="rows")


def _seal(place: Place, questions: Sequence[Question], seconds: float) -> None:
    target = Work(place)
    rows = pl.concat([pl.read_parquet(shard) for shard in sorted((target.path / "shards").glob("*.parquet"))])
    rows = rows.sort("example_id")
    target.commit("rows.parquet", rows.write_parquet)
    for shard in (target.path / "shards").glob("*.parquet"):
        shard.unlink()
    with suppress(OSError):
        (target.path / "shards").rmdir()
    tokens = sum(len(question.context) + len(question.answer) for question in questions)
    cost = {"seconds": seconds, "peak_memory_gb": peak_memory_gb(), "tokens_per_second": tokens / seconds}
    target.finish({"metrics": _metrics(rows), "tables": _tables(rows)}, cost)


def _metrics(rows: pl.DataFrame) -> dict[str, float]:
    """Accuracy over all rows and per domain; loss per domain as the mean over its examples."""
    domains = rows.group_by("domain").agg(pl.col("correct").mean(), pl.col("loss").mean()).sort("domain")
    metrics = {"evaluate/accuracy": int(rows["correct"].sum()) / rows.height}
    for domain, accuracy, loss in domains.iter_rows():
        metrics[f"evaluate/accuracy/{domain}"] = accuracy
        metrics[f"evaluate/loss/{domain}"] = loss
    return metrics


def _tables(rows: pl.DataFrame) -> dict[str, Any]:
    return {"rows": {"file": "rows.parquet", "rows": rows.height, "fingerprint": table_fingerprint(rows.iter_rows())}}


if __name__ == "__main__":
    run(work)
