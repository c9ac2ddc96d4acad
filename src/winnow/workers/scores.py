"""Worker: cosines of every training row with every subtask, from stores of features, one table per checkpoint.

Not normalised they are dot products with a label's mean gradient.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from winnow.errors import NothingToTrainOn
from winnow.gradients.store import FeatureStore, require_comparable, require_data
from winnow.influence.scores import mean_queries, score_store, unit_rows
from winnow.stages import Work, table_fingerprint
from winnow.workers.gradients import use_threads
from winnow.workers.runtime import Worker, peak_memory_gb, run

SCORES = "scores.parquet"
PER_ROW = "per_row.parquet"


def work(worker: Worker) -> dict[str, Any]:
    """Score the checkpoints that are missing."""
    use_threads(worker)
    task = worker.job.task
    labels, normalize = dict(task["labels"]), task["normalize"]
    for number, (step, place) in enumerate(worker.job.places.items()):
        worker.report(done=number, total=len(worker.job.places), unit="checkpoints", message=f"checkpoint {step}")
        start = time.monotonic()
        train, targets = (FeatureStore(Path(task[side][step])) for side in ("train", "targets"))
        require_comparable(train, targets)
        for side, store in (("train", train), ("targets", targets)):
            require_data(store, task["data"][side])
        names, features = targets.features()
        features = unit_rows(features) if normalize else features
        means = mean_queries(features, [labels[name] for name in names])
        require_all(labels, means, targets.rejected().rows())
        target = Work(place)
        if task["per_row"]:
            target.commit(PER_ROW, _table(train, features, names, normalize).write_parquet)
        table = _table(train, np.stack(list(means.values())), list(means), normalize)
        target.commit(SCORES, table.write_parquet)
        seal_scores(target, table.height + train.rejected().height, time.monotonic() - start)
    return {}


def require_all(labels: dict[str, str], found: Any, rejected: list[tuple[str, str]]) -> None:
    """A subtask without any gradient left cannot be scored for."""
    if lost := sorted(set(labels.values()) - set(found)):
        example, reason = rejected[0] if rejected else ("", "it has no rows")
        raise NothingToTrainOn(
            f"No row of the subtask {lost[0]!r} has a gradient: {example} {reason}. Look at the warm-up's loss, and "
            "leave the subtask out of `targets.sets` if it is not to be had."
        )


def seal_scores(target: Work, rows: int, seconds: float) -> None:
    """Seal a committed score table: example_id, and a column per subtask, sorted by id. ``rows`` were to be scored."""
    table = pl.read_parquet(target.path / SCORES)
    entry = {"file": SCORES, "rows": table.height, "fingerprint": table_fingerprint(table.iter_rows())}
    cost = {"seconds": seconds, "peak_memory_gb": peak_memory_gb()}
    target.finish({"tables": {"scores": entry}, "rejected": rows - table.height}, cost)


def _table(store: FeatureStore, queries: np.ndarray, names: list[str], normalize: bool) -> pl.DataFrame:
    rows = store.rows()
    found = score_store(store, queries)
    starts = np.cumsum([0, *map(len, found)])
    place = starts[rows["shard"].to_numpy()] + rows["row"].to_numpy()
    scores = np.concatenate(found)[place]
    scores = scores if normalize else scores * rows["norm"].to_numpy()[:, None]
    return pl.DataFrame({"example_id": rows["example_id"], **{name: scores[:, n] for n, name in enumerate(names)}})


if __name__ == "__main__":
    run(work)
