"""Worker: losses and embeddings of all rows under the base model; shards of planned batches are shared by processes.

Equal rows are computed once. Each shard takes two passes: whole rows, and their answers alone.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from winnow.baselines.files import EMBEDDINGS, write_joined
from winnow.baselines.row_pass import RowPass
from winnow.batching import planned_batches, runs_of
from winnow.params import BaselinesParams
from winnow.records.answer_header import answer_header
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import TokenTable
from winnow.stages import PARTS, Finished, Work
from winnow.training.model import load_model
from winnow.trajectories import unique_rows
from winnow.workers.runtime import Worker, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Compute the missing shards, and seal the table and the embeddings."""
    start = time.monotonic()
    task = worker.job.task
    params = BaselinesParams.model_validate(task["params"])
    base, folder = Finished.open(Path(task["base_model"])), Path(task["tokens"])
    header = answer_header(load_tokenizer(base), task["template"])
    tokens = TokenTable.open(folder, "train")
    groups = unique_rows(tokens)
    lengths = [len(row.input_ids) for row in tokens.rows([group[0] for group in groups])]
    runs = runs_of(planned_batches(lengths, params.batch, params.batch_tokens), params.shard_rows)
    row_pass = RowPass(load_model(base, params.precision, worker.device()))
    target = Work(worker.job.places["row_scores"])
    done = 0
    for number, run_of in enumerate(runs):
        done += sum(map(len, run_of))
        name = _part(number)
        if number % worker.world_size != worker.rank or target.is_committed(name):
            continue
        batches = [[groups[place][0] for place in batch] for batch in run_of]
        arrays = _scored(row_pass, tokens, batches, header, params)
        target.commit(name, partial(_write, arrays=arrays))
        worker.report(done=done, total=len(groups), unit="rows")
    worker.barrier()
    if worker.is_main:
        order = [place for run_of in runs for batch in run_of for place in batch]
        _seal(target, [groups[place] for place in order], len(runs), sum(lengths), start)
    worker.barrier()
    return {}


def _scored(
    row_pass: RowPass, tokens: TokenTable, batches: Sequence[list[str]], header: np.ndarray, params: BaselinesParams
) -> dict[str, np.ndarray]:
    found = [row_pass.losses_and_embeddings(tokens.rows(batch)) for batch in batches]
    rows = tokens.rows([name for batch in batches for name in batch])
    return {
        "loss": np.concatenate([losses for losses, _ in found]),
        "embedding": np.concatenate([embeddings for _, embeddings in found]),
        "loss_alone": row_pass.alone(rows, header, params.batch, params.batch_tokens),
        "n_tokens": np.array([len(row.input_ids) for row in rows], np.int64),
    }


def _seal(target: Work, groups: Sequence[list[str]], count: int, tokens: int, start: float) -> None:
    """A row for each example, in the order of their ids; equal ones share an embedding."""
    files = [target.path / _part(number) for number in range(count)]
    names = ("loss", "loss_alone", "n_tokens")
    parts = [{name: part[name] for name in names} for part in map(load_file, files)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    place = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    table = pl.DataFrame(
        {
            "example_id": [name for group in groups for name in group],
            **{name: values[place] for name, values in columns.items()},
            "embedding": place,
        }
    )
    ratio = pl.col("loss").cast(pl.Float64) / pl.col("loss_alone")
    table = table.with_columns(ifd=pl.when(pl.col("loss_alone") > 0).then(ratio)).sort("example_id")
    target.commit(EMBEDDINGS, partial(write_joined, shards=files, rows=len(groups)))
    seconds = time.monotonic() - start
    cost = {"seconds": seconds, "peak_memory_gb": peak_memory_gb(), "tokens_per_second": tokens / seconds}
    without = table.height - table["ifd"].is_finite().sum()
    summary = {"tables": target.commit_tables({"row_scores": table}), "embeddings": len(groups)}
    target.finish({**summary, "without_ifd": int(without)}, cost)


def _part(number: int) -> str:
    return f"{PARTS}/{number:05}.safetensors"


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path)


if __name__ == "__main__":
    run(work)
