"""k-means on loss trajectories: every row is used, every cluster is large enough, nothing is deleted."""

from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np

from winnow.errors import BadInput
from winnow.params import ClustersParams

SAMPLE = 50_000
Normalize = Literal["none", "zscore", "delta"]


@dataclass(frozen=True)
class Clustering:
    """Labels [rows] from 0 on, in ascending order of their centroids' mean, and the centroids [k, steps]."""

    labels: np.ndarray
    centroids: np.ndarray
    inertia: float

    @property
    def sizes(self) -> list[int]:
        """Rows per cluster."""
        return np.bincount(self.labels, minlength=len(self.centroids)).tolist()


def normalized(losses: np.ndarray, how: Normalize) -> np.ndarray:
    """Trajectories as they are, each at mean 0 and standard deviation 1, or as steps from checkpoint to checkpoint."""
    if how == "zscore":
        spread = losses.std(axis=1, keepdims=True)
        return np.asarray((losses - losses.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1), np.float32)
    if how == "delta":
        if losses.shape[1] < 2:
            raise BadInput("`clusters.normalize: delta` needs two checkpoints or more; there is one.")
        return np.diff(losses, axis=1)
    return losses


def k_means(points: np.ndarray, k: int, iterations: int, seed: int) -> Clustering:
    """k-means over all rows [n, d]; at most as many clusters as there are different rows."""
    points = np.ascontiguousarray(points, np.float32)
    k = min(k, _count_different(points, k))
    index = faiss.Kmeans(
        points.shape[1],
        k,
        niter=iterations,
        seed=seed,
        # faiss would look at 256 rows per cluster, and warn below 39.
        max_points_per_centroid=max(1, len(points)),
        min_points_per_centroid=1,
        gpu=_gpus() > 0,
    )
    index.train(points, init_centroids=_spread_out(points, k, seed))
    distances, labels = index.index.search(points, 1)
    return _tidy(Clustering(labels[:, 0], np.asarray(index.centroids), float(distances.sum())))


def cluster(points: np.ndarray, params: ClustersParams, seed: int) -> Clustering:
    """Clusters of at least `min_size` rows: larger k while fewer than k are that large, then small ones are merged."""
    found = k_means(points, params.k, params.iterations, seed)
    for more in range(1, params.retries + 1):
        if sum(size >= params.min_size for size in found.sizes) >= params.k:
            break
        found = k_means(points, params.k + more, params.iterations, seed)
    return merge_small(points, found, params.min_size)


def merge_small(points: np.ndarray, found: Clustering, min_size: int) -> Clustering:
    """Hand the rows of each cluster that is too small to the nearest centroid of a large one."""
    sizes = np.asarray(found.sizes)
    large = np.flatnonzero(sizes >= min_size)
    if not len(large):
        large = np.array([int(sizes.argmax())])
    if len(large) == len(sizes):
        return found
    apart = ((found.centroids[:, None, :] - found.centroids[None, large, :]) ** 2).sum(axis=2)
    target = large[apart.argmin(axis=1)]
    target[large] = large
    labels = target[found.labels]
    centroids = np.stack([points[labels == number].mean(axis=0) for number in large])
    numbers = np.searchsorted(large, labels)
    inertia = float(((points - centroids[numbers]) ** 2).sum())
    return _tidy(Clustering(numbers, centroids, inertia))


def stability(points: np.ndarray, params: ClustersParams, reference: Clustering) -> list[float]:
    """Adjusted Rand index of the clusters against those of other seeds: 1 is the same, 0 is chance."""
    from sklearn.metrics import adjusted_rand_score

    seeds = range(params.seed + 1, params.seed + 1 + params.stability_seeds)
    others = [cluster(points, params, seed) for seed in seeds]
    return [float(adjusted_rand_score(reference.labels, other.labels)) for other in others]


def silhouette(points: np.ndarray, labels: np.ndarray, rows: int, seed: int) -> float | None:
    """Mean silhouette of a random sample; None where it has one cluster."""
    from sklearn.metrics import silhouette_score

    chosen = np.random.default_rng(seed).permutation(len(points))[:rows]
    clusters = len(np.unique(labels[chosen]))
    if not 1 < clusters < len(chosen):
        return None
    return float(silhouette_score(points[chosen], labels[chosen]))


def suggest_k(points: np.ndarray, params: ClustersParams) -> tuple[int | None, dict[int, float]]:
    """The k with the largest silhouette, and the silhouette of each k that was tried."""
    tried = {}
    for k in range(2, params.suggest_up_to + 1):
        labels = k_means(points, k, params.iterations, params.seed).labels
        score = silhouette(points, labels, params.silhouette_rows, params.seed)
        if score is not None:
            tried[k] = score
    return max(tried, key=lambda k: tried[k], default=None), tried


def require_complete(losses: np.ndarray, names: list[str]) -> None:
    """Refuse losses that are not numbers, and say at which checkpoints."""
    bad = {name: int((~np.isfinite(losses[:, place])).sum()) for place, name in enumerate(names)}
    told = [f"{name} ({count} of {len(losses)} rows)" for name, count in bad.items() if count]
    if told:
        raise BadInput(
            f"The loss is not a number at checkpoint {', '.join(told)}. The training diverged there, or `precision` is "
            "too low: look at its loss curve, and leave these checkpoints out with `trajectories.checkpoints`."
        )


def _spread_out(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Where to begin: k-means++ on a sample. From k random rows, faiss's way, clusters that lie apart are missed."""
    from sklearn.cluster import kmeans_plusplus

    rows = np.random.default_rng(seed).permutation(len(points))[: max(SAMPLE, 256 * k)]
    centroids, _ = kmeans_plusplus(points[rows], k, random_state=seed)
    return np.ascontiguousarray(centroids, np.float32)


def _tidy(found: Clustering) -> Clustering:
    """Drop empty clusters, and number the others from the lowest mean loss to the highest."""
    used = np.flatnonzero(np.bincount(found.labels, minlength=len(found.centroids)))
    order = used[np.lexsort((used, found.centroids[used].mean(axis=1)))]
    number = np.empty(len(found.centroids), np.int64)
    number[order] = np.arange(len(order))
    return Clustering(number[found.labels], found.centroids[order], found.inertia)


def _count_different(points: np.ndarray, enough: int) -> int:
    """The number of different rows, counted as far as it matters."""
    some = len(np.unique(points[: 10 * enough], axis=0))
    return some if some >= enough else len(np.unique(points, axis=0))


def _gpus() -> int:
    count: Any = getattr(faiss, "get_num_gpus", lambda: 0)
    return int(count())
