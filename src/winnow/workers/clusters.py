"""Worker: clusters of loss trajectories, over all subsets and within each."""

import time
from typing import Any

import faiss
import numpy as np
import polars as pl

from winnow.clustering import cluster, k_means, normalized, require_complete, silhouette, stability, suggest_k
from winnow.params import ClustersParams
from winnow.stages import Work, table_fingerprint
from winnow.workers.runtime import Worker, peak_memory_gb, run, threads_per_process

CLUSTERS = "clusters.parquet"


def work(worker: Worker) -> dict[str, Any]:
    """Cluster, say how good the clusters are, and seal the table."""
    start = time.monotonic()
    task = worker.job.task
    params = ClustersParams.model_validate(task["params"])
    # faiss has an OpenMP of its own, which torch's number of threads does not reach.
    faiss.omp_set_num_threads(threads_per_process(worker.job.machine))
    table = pl.read_parquet(task["losses"]).sort("example_id")
    steps = [name for name in table.columns if name.isdigit()]
    losses = table.select(steps).to_numpy().astype(np.float32)
    require_complete(losses, steps)
    points = normalized(losses, params.normalize)
    subsets = table["subset"].to_numpy()
    everywhere, described = _cluster(points, params)
    report = {"all": described}
    labels = {
        "cluster": everywhere,
        "subset_cluster": np.zeros_like(everywhere),
        "s2l_cluster": np.zeros_like(everywhere),
    }
    names = sorted(set(subsets))
    for number, name in enumerate(names):
        worker.report(done=number, total=len(names), unit="subsets", message=name)
        inside = np.flatnonzero(subsets == name)
        labels["subset_cluster"][inside], report[name] = _cluster(points[inside], params)
        s2l = k_means(points[inside], params.s2l.clusters, params.s2l.iterations, params.seed)
        labels["s2l_cluster"][inside] = s2l.labels
    found = table.select("example_id", "subset").with_columns(pl.Series(name, rows) for name, rows in labels.items())
    target = Work(worker.job.places["clusters"])
    target.commit(CLUSTERS, found.write_parquet)
    entry = {"file": CLUSTERS, "rows": found.height, "fingerprint": table_fingerprint(found.iter_rows())}
    mix = found.group_by("cluster", "subset").len().sort("cluster", "subset").rows()
    summary = {"tables": {"clusters": entry}, "clusters": report, "sources": [list(row) for row in mix]}
    target.finish(summary, {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()})
    return {}


def _cluster(points: np.ndarray, params: ClustersParams) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels, and how good they are."""
    found = cluster(points, params, params.seed)
    suggested, tried = suggest_k(points, params)
    return found.labels, {
        "sizes": found.sizes,
        "inertia": found.inertia,
        "silhouette": silhouette(points, found.labels, params.silhouette_rows, params.seed),
        "stability": stability(points, params, found),
        "suggested_k": suggested,
        "silhouettes": {str(k): score for k, score in tried.items()},
    }


if __name__ == "__main__":
    run(work)
