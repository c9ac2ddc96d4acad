"""Worker: the quality of rows of the pool, by a selector; shards of planned batches are shared among the processes."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from winnow.batching import planned_batches, runs_of
from winnow.moe.convert import widen
from winnow.moe.files import POOLED
from winnow.moe.quality import Quality
from winnow.params import SelectMoeParams
from winnow.records.tokens import TokenTable
from winnow.stages import PARTS, Finished, Work
from winnow.training.model import load_model
from winnow.trajectories import unique_rows
from winnow.workers.runtime import Worker, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Score, and seal the tables."""
    start = time.monotonic()
    task = worker.job.task
    params = SelectMoeParams.model_validate(task["params"])
    tokens = TokenTable.open(Path(task["tokens"]), "train")
    wanted = set(task["rows"])
    groups = [[name for name in group if name in wanted] for group in unique_rows(tokens)]
    groups = [group for group in groups if group]
    lengths = [len(row.input_ids) for row in tokens.rows([group[0] for group in groups])]
    batches = planned_batches(lengths, params.score.batch, params.score.batch_tokens)
    model = load_model(Finished.open(Path(task["base_model"])), params.dtype, worker.device())
    quality = Quality(model, widen(model, Path(task["gates"])), params.tokens)
    target = Work(worker.job.places["select_moe_score"])
    runs = runs_of(batches, params.score.shard_rows)
    done = 0
    for number, run_of in enumerate(runs):
        done += sum(map(len, run_of))
        name = _part(number)
        if number % worker.world_size != worker.rank or target.is_committed(name):
            continue
        found = [quality(tokens.rows([groups[place][0] for place in batch])) for batch in run_of]
        arrays = {
            "quality": np.concatenate([part.quality for part in found]),
            "by_layer": np.concatenate([part.by_layer for part in found]),
            "pooled": np.concatenate([part.pooled for part in found]).astype(np.float16),
        }
        target.commit(name, partial(_write, arrays=arrays))
        worker.report(done=done, total=len(groups), unit="rows")
    worker.barrier()
    if worker.is_main:
        order = [place for run_of in runs for batch in run_of for place in batch]
        _seal(target, [groups[place] for place in order], [lengths[place] for place in order], len(runs), start)
    worker.barrier()
    return {}


def _seal(target: Work, groups: Sequence[list[str]], lengths: Sequence[int], count: int, start: float) -> None:
    """A row for each example, equal ones alike, in the order of their ids; pooled probabilities in the same order."""
    parts = [load_file(target.path / _part(number)) for number in range(count)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = np.array([name for group in groups for name in group])
    order = np.argsort(names)
    source = np.repeat(np.arange(len(groups)), [len(group) for group in groups])[order]
    columns = {"example_id": names[order], "quality": whole["quality"][source]}
    layers = {f"layer_{n}": column[source] for n, column in enumerate(whole["by_layer"].T)}
    table = pl.DataFrame({**columns, "n_tokens": np.array(lengths)[source], **layers})
    target.commit(POOLED, partial(_write, arrays={"pooled": whole["pooled"][source]}))
    seconds = time.monotonic() - start
    cost = {"seconds": seconds, "peak_memory_gb": peak_memory_gb(), "tokens_per_second": sum(lengths) / seconds}
    summary = {"tables": target.commit_tables({"quality": table}), "computed_rows": len(groups)}
    target.finish(summary, cost)


def _part(number: int) -> str:
    return f"{PARTS}/{number:05}.safetensors"


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path)


if __name__ == "__main__":
    run(work)
