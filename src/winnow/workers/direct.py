"""Worker: exact scores of every training row for every subtask, without a store, one table per checkpoint."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from winnow.errors import BadSetting
from winnow.gradients.blocks import Block, find_blocks
from winnow.gradients.collector import ResponseGradients
from winnow.influence.direct import DirectScores, mean_unit_gradients
from winnow.params import GradientsParams
from winnow.records.tokens import TokenTable
from winnow.stages import PARTS, Finished, Work
from winnow.training.checkpoints import load_checkpoint
from winnow.training.model import load_model
from winnow.workers.gradients import Rows, make_feature, use_threads
from winnow.workers.runtime import Worker, forget_peak_memory, run
from winnow.workers.scores import SCORES, require_all, seal_scores

GIGABYTE = 1 << 30


def work(worker: Worker) -> dict[str, Any]:
    """Take the targets' mean gradients, then pass over the training rows; once per checkpoint."""
    use_threads(worker)
    task = worker.job.task
    params = GradientsParams.model_validate(task["params"])
    labels = dict(task["labels"])
    targets = Rows(TokenTable.open(Path(task["target_tokens"]), "validation"), params)
    rows = Rows(TokenTable.open(Path(task["tokens"]), "train"), params)
    model: Any = load_model(Finished.open(Path(task["base_model"])), params.precision, worker.device())
    places = worker.job.places
    for number, (step, place) in enumerate(places.items()):
        start = time.monotonic()
        forget_peak_memory()
        model = load_checkpoint(model, Path(task["checkpoints"][step]))
        blocks = find_blocks(model, params.parameters)
        require_memory(blocks, len(set(labels.values())), task["limit_gb"])
        gradients = ResponseGradients(model, blocks)
        batches = [targets.copies(batch) for run_of in targets.runs for batch in run_of]
        names, means, rejected = mean_unit_gradients(gradients, batches, labels)
        require_all(labels, names, [(name, "has a gradient that is not finite") for name in rejected])
        feature = make_feature(params.feature, params, Path(task["moments"][step]), worker.device())
        scores = DirectScores(gradients, feature, means)
        done = 0
        for shard, run_of in enumerate(rows.runs):
            name = f"{PARTS}/{shard:05}.parquet"
            done += sum(map(len, run_of))
            if shard % worker.world_size == worker.rank and not Work(place).is_committed(name):
                found = np.concatenate([scores(rows.of(batch)) for batch in run_of])
                Work(place).commit(name, _table(rows, run_of, found, names).write_parquet)
                told = {"done": number * rows.count + done, "total": len(places) * rows.count, "unit": "rows"}
                worker.report(**told, message=f"checkpoint {step}")
        worker.barrier()
        if worker.is_main:
            _seal(Work(place), sum(map(len, rows.groups)), time.monotonic() - start)
        worker.barrier()
    return {}


def require_memory(blocks: list[Block], labels: int, limit: float) -> None:
    """Refuse means that do not fit, with the figure."""
    size = 4 * labels * sum(block.size for block in blocks) / GIGABYTE
    if size > limit:
        raise BadSetting(
            f"`influence.mode: direct` keeps the mean gradient of {labels} subtasks, {size:.1f} GB; "
            f"`influence.direct_gb` is {limit:g}. Raise it, choose fewer parameters with `gradients.parameters`, or "
            "take `influence.mode: store`."
        )


def _table(rows: Rows, run_of: list[list[int]], found: np.ndarray, names: list[str]) -> pl.DataFrame:
    groups = [rows.groups[place] for batch in run_of for place in batch]
    ids = [name for group in groups for name in group]
    places = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return pl.DataFrame({"example_id": ids, **{name: found[places, n] for n, name in enumerate(names)}})


def _seal(target: Work, rows: int, seconds: float) -> None:
    table = pl.concat([pl.read_parquet(part) for part in sorted(target.path.glob(f"{PARTS}/*.parquet"))])
    good = table.filter(pl.all_horizontal(pl.exclude("example_id").is_finite()))
    target.commit(SCORES, good.sort("example_id").write_parquet)
    seal_scores(target, rows, seconds)


if __name__ == "__main__":
    run(work)
