"""Worker: let every seed's model of one arm answer the questions of a split."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from lm_eval.models.huggingface import HFLM

from winnow.batching import planned_batches
from winnow.evaluation.answers import answer_forced, answer_generated, harness
from winnow.evaluation.questions import Question, ask
from winnow.params import EvaluateParams
from winnow.records.chat_template import template_text
from winnow.records.tokenizer import load_tokenizer
from winnow.stages import PARTS, Finished, Work, table_fingerprint
from winnow.training.model import load_model, tuned
from winnow.workers.runtime import Worker, forget_peak_memory, peak_memory_gb, run

BATCHES_PER_SHARD = 4
ROWS = "rows.parquet"


def work(worker: Worker) -> dict[str, Any]:
    """Score the models that are missing; shards of planned batches are shared among the processes."""
    task = worker.job.task
    params = EvaluateParams.model_validate(task["params"])
    base = Finished.open(Path(task["base_model"]))
    tokenizer = load_tokenizer(base)
    template = template_text(task["template"])
    questions, unusable = ask(pl.scan_parquet(task["table"]), tokenizer, template, task["max_length"], params.limit)
    planned = planned_batches([question.length for question in questions], params.batch, params.batch_tokens)
    batches = [[questions[place] for place in batch] for batch in planned]
    model = load_model(base, params.precision, worker.device())
    progress = _Progress(worker, len(questions) * len(worker.job.places))
    for name, place in worker.job.places.items():
        start = time.monotonic()
        forget_peak_memory()
        folder = task["models"].get(name)
        with tuned(base, model, Finished.open(Path(folder)) if folder else None) as ready:
            lm = harness(ready, tokenizer, params.batch, task["max_length"] + params.max_new_tokens)
            _answer_shards(worker, Work(place), lm, batches, params, progress)
        worker.barrier()
        if worker.is_main:
            _seal(Work(place), batches, unusable, time.monotonic() - start)
        worker.barrier()
    return {}


@dataclass
class _Progress:
    """Rows answered over all models, in this attempt and earlier ones; other processes are taken to be as fast."""

    worker: Worker
    total: int
    done: int = 0

    def report(self) -> None:
        """Tell the launcher."""
        self.worker.report(done=self.done, total=self.total, unit="rows")


def _answer_shards(
    worker: Worker,
    target: Work,
    lm: HFLM,
    batches: Sequence[Sequence[Question]],
    params: EvaluateParams,
    progress: _Progress,
) -> None:
    for shard, start in enumerate(range(0, len(batches), BATCHES_PER_SHARD)):
        name = f"{PARTS}/{shard:05}.parquet"
        asked = batches[start : start + BATCHES_PER_SHARD]
        progress.done += sum(len(batch) for batch in asked)
        if shard % worker.world_size != worker.rank or target.is_committed(name):
            continue
        if params.decoding == "generate":
            answers = [answer_generated(lm, batch, params.max_new_tokens) for batch in asked]
        else:
            answers = [answer_forced(lm, batch) for batch in asked]
        target.commit(name, pl.concat(answers).write_parquet)
        progress.report()


def _seal(target: Work, batches: Sequence[Sequence[Question]], unusable: int, seconds: float) -> None:
    rows = pl.concat([pl.read_parquet(part) for part in sorted(target.path.glob(f"{PARTS}/*.parquet"))])
    rows = rows.sort("example_id")
    target.commit(ROWS, rows.write_parquet)
    tokens = sum(question.length for batch in batches for question in batch)
    cost = {"seconds": seconds, "peak_memory_gb": peak_memory_gb(), "tokens_per_second": tokens / seconds}
    target.finish({"metrics": _metrics(rows), "unusable": unusable, "tables": _tables(rows)}, cost)


def _metrics(rows: pl.DataFrame) -> dict[str, float]:
    """Accuracy over all rows and per domain; loss per domain as the mean over its examples."""
    domains = rows.group_by("domain").agg(pl.col("correct").mean(), pl.col("loss").mean()).sort("domain")
    metrics = {"evaluate/accuracy": int(rows["correct"].sum()) / rows.height}
    for domain, accuracy, loss in domains.iter_rows():
        metrics[f"evaluate/accuracy/{domain}"] = accuracy
        metrics[f"evaluate/loss/{domain}"] = loss
    return metrics


def _tables(rows: pl.DataFrame) -> dict[str, Any]:
    return {"rows": {"file": ROWS, "rows": rows.height, "fingerprint": table_fingerprint(rows.iter_rows())}}


if __name__ == "__main__":
    run(work)
