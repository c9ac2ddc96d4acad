"""Worker: the loss of every training example at every chosen checkpoint, one finished table per checkpoint."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from winnow.batching import planned_batches
from winnow.params import TrajectoriesParams
from winnow.records.tokens import TokenTable
from winnow.stages import PARTS, Finished, Work, table_fingerprint
from winnow.training.checkpoints import load_checkpoint
from winnow.training.model import load_model
from winnow.trajectories import ResponseLoss, unique_rows
from winnow.workers.runtime import Worker, forget_peak_memory, peak_memory_gb, run

BATCHES_PER_SHARD = 16
LOSSES = "losses.parquet"
SCHEMA = {"example_id": pl.String, "loss": pl.Float32}


def work(worker: Worker) -> dict[str, Any]:
    """Pass over the examples once per checkpoint; shards of planned batches are shared among the processes."""
    task = worker.job.task
    params = TrajectoriesParams.model_validate(task["params"])
    tokens = TokenTable.open(Path(task["tokens"]), "train")
    groups = unique_rows(tokens)
    lengths = [len(row.input_ids) for row in tokens.rows([group[0] for group in groups])]
    batches = planned_batches(lengths, params.batch, params.batch_tokens)
    model: Any = load_model(Finished.open(Path(task["base_model"])), params.precision, worker.device())
    done, total = 0, len(groups) * len(worker.job.places)
    for name, place in worker.job.places.items():
        start = time.monotonic()
        forget_peak_memory()
        model = load_checkpoint(model, Path(task["checkpoints"][name]))
        loss_of = ResponseLoss(model)
        for shard, first in enumerate(range(0, len(batches), BATCHES_PER_SHARD)):
            run_of = batches[first : first + BATCHES_PER_SHARD]
            done += sum(map(len, run_of))
            if shard % worker.world_size == worker.rank:
                _write_shard(Work(place), f"{PARTS}/{shard:05}.parquet", run_of, groups, tokens, loss_of)
                worker.report(done=done, total=total, unit="rows", message=f"checkpoint {name}")
        worker.barrier()
        if worker.is_main:
            _seal(Work(place), sum(lengths), time.monotonic() - start)
        worker.barrier()
    return {}


def _write_shard(
    target: Work,
    name: str,
    batches: Sequence[Sequence[int]],
    groups: Sequence[list[str]],
    tokens: TokenTable,
    loss_of: ResponseLoss,
) -> None:
    if target.is_committed(name):
        return
    losses = []
    for batch in batches:
        found = loss_of(tokens.rows([groups[place][0] for place in batch]))
        losses += [(name, loss) for place, loss in zip(batch, found, strict=True) for name in groups[place]]
    target.commit(name, pl.DataFrame(losses, schema=SCHEMA, orient="row").write_parquet)


def _seal(target: Work, tokens: int, seconds: float) -> None:
    rows = pl.concat([pl.read_parquet(part) for part in sorted(target.path.glob(f"{PARTS}/*.parquet"))])
    rows = rows.sort("example_id")
    target.commit(LOSSES, rows.write_parquet)
    table = {"file": LOSSES, "rows": rows.height, "fingerprint": table_fingerprint(rows.iter_rows())}
    cost = {"seconds": seconds, "peak_memory_gb": peak_memory_gb(), "tokens_per_second": tokens / seconds}
    target.finish({"tables": {"losses": table}}, cost)


if __name__ == "__main__":
    run(work)
