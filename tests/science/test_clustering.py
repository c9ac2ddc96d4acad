"""Clusters: every row is used, each is large enough, the numbers agree with another library."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from winnow.clustering import (
    Clustering,
    cluster,
    k_means,
    merge_small,
    normalized,
    require_complete,
    silhouette,
    stability,
    suggest_k,
)
from winnow.errors import BadInput
from winnow.params import ClustersParams

RNG = np.random.default_rng(0)
CENTERS = np.array([[3, 2, 1], [3, 3, 3], [1, 0.5, 0.1]], np.float32)


def blobs(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    truth = np.repeat(np.arange(len(sizes)), sizes)
    points = CENTERS[truth] + 0.05 * np.random.default_rng(1).standard_normal((len(truth), 3))
    return points.astype(np.float32), truth


def test_clusters_are_those_of_another_library():
    points, truth = blobs((200, 300, 100))
    ours = k_means(points, 3, 25, seed=0)
    theirs = KMeans(3, n_init=5, random_state=0).fit(points)
    assert adjusted_rand_score(ours.labels, truth) == 1
    assert adjusted_rand_score(ours.labels, theirs.labels_) == 1
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-3)


def test_every_row_is_used_for_training():
    # Of 20,000 rows faiss by default looks at 512 for two clusters, and would miss 20 that lie far off.
    points = np.zeros((20_000, 2), np.float32)
    points[:20] = 1000
    assert sorted(k_means(points, 2, 25, seed=0).sizes) == [20, 19_980]


def test_clusters_are_numbered_from_the_lowest_mean_loss_to_the_highest():
    points, truth = blobs((50, 50, 50))
    labels = k_means(points, 3, 25, seed=3).labels
    assert [int(np.unique(labels[truth == number])[0]) for number in range(3)] == [1, 2, 0]


def test_small_clusters_are_merged_into_the_nearest_and_nothing_is_lost():
    points, _ = blobs((100, 60, 4))
    points[-4:] = CENTERS[0] + 0.5
    params = ClustersParams(k=3, min_size=10, retries=0)
    found = cluster(points, params, seed=0)
    assert sorted(found.sizes) == [60, 104]
    assert found.inertia == pytest.approx(
        sum(((points[found.labels == c] - points[found.labels == c].mean(axis=0)) ** 2).sum() for c in range(2)),
        rel=1e-4,
    )


def test_while_too_few_are_large_enough_k_is_raised():
    points, _ = blobs((100, 60, 4))
    points[-4:] = 50
    assert len(cluster(points, ClustersParams(k=2, min_size=10, retries=5), seed=0).sizes) == 2
    alone = cluster(points, ClustersParams(k=2, min_size=10, retries=0), seed=0)
    assert len(alone.sizes) == 1, "without a retry the four far rows take one of two clusters"


def test_fewer_rows_than_the_least_size_are_one_cluster():
    found = merge_small(np.eye(3, dtype=np.float32), Clustering(np.arange(3), np.eye(3, dtype=np.float32), 0.0), 10)
    assert found.sizes == [3]


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_a_subset_smaller_than_k_does_not_crash(rows: int):
    points = RNG.standard_normal((rows, 4)).astype(np.float32)
    assert sum(k_means(points, 100, 20, seed=0).sizes) == rows
    assert k_means(np.ones((rows, 4), np.float32), 100, 20, seed=0).sizes == [rows]


def test_the_seed_decides():
    points = RNG.standard_normal((500, 5)).astype(np.float32)
    assert np.array_equal(k_means(points, 7, 20, 0).labels, k_means(points, 7, 20, 0).labels)
    assert not np.array_equal(k_means(points, 7, 20, 0).labels, k_means(points, 7, 20, 1).labels)


def test_stability_and_suggestion_find_what_is_there():
    points, _ = blobs((150, 150, 150))
    params = ClustersParams(k=3, stability_seeds=3, suggest_up_to=6, silhouette_rows=300)
    found = cluster(points, params, 0)
    assert stability(points, params, found) == [1.0, 1.0, 1.0]
    best, tried = suggest_k(points, params)
    assert best == 3
    assert set(tried) == {2, 3, 4, 5, 6}
    assert silhouette(points, np.zeros(450, int), 300, 0) is None


def test_normalized_trajectories():
    losses = np.array([[3, 2, 1], [5, 5, 5]], np.float32)
    assert np.allclose(normalized(losses, "delta"), [[-1, -1], [0, 0]])
    assert np.allclose(normalized(losses, "zscore"), [[1.2247, 0, -1.2247], [0, 0, 0]], atol=1e-4)
    assert normalized(losses, "none") is losses
    with pytest.raises(BadInput, match="needs two checkpoints"):
        normalized(losses[:, :1], "delta")


def test_a_loss_that_is_no_number_names_its_checkpoints():
    losses = np.ones((4, 3), np.float32)
    require_complete(losses, ["10", "20", "30"])
    losses[1, 1] = np.nan
    losses[:2, 2] = np.inf
    with pytest.raises(BadInput, match=r"20 \(1 of 4 rows\), 30 \(2 of 4 rows\)"):
        require_complete(losses, ["10", "20", "30"])
