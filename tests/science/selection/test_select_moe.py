"""The rankings of Select-MoE: by quality alone, and in rounds over clusters of what the routers do."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.clustering import k_means
from winnow.errors import BadInput
from winnow.selection import rank_by_diverse_quality, rank_by_quality

COLUMNS = ["example_id", "weight", "score", "cluster", "rank"]


def scored(rows: int, seed: int = 0, kinds: int = 4) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows of a few kinds that go to experts of their own; quality has ties, and one kind is far above the others."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, kinds, rows)
    quality = np.round(0.2 * random.random(rows) + 0.5 * (kind == 0), 2)
    pooled = 0.02 * random.random((rows, 8)) + np.eye(kinds, 8)[kind] * (0.1 + 0.8 * random.random((rows, 1)))
    ids = [f"s/a:{number:04}" for number in random.permutation(rows)]
    return pl.DataFrame({"example_id": ids, "subset": "s", "quality": quality}), pooled.astype(np.float16)


def round_robin(best_first: list[str], cluster_of: dict[str, str]) -> list[str]:
    """The slow reference: in each round the first row that is left of every cluster, in the order of all."""
    left, order = list(best_first), []
    while left:
        met: set[str] = set()
        given = [name for name in left if not (cluster_of[name] in met or met.add(cluster_of[name]))]
        order += given
        left = [name for name in left if name not in given]
    return order


def test_quality_ranks_from_high_to_low_and_ties_by_id():
    table = pl.DataFrame({"example_id": ["d", "a", "c", "b"], "quality": [0.5, 0.1, 0.9, 0.5]})
    ranking = rank_by_quality(table)
    assert list(ranking.columns) == COLUMNS
    assert ranking["example_id"].tolist() == ["c", "b", "d", "a"]
    assert ranking["score"].tolist() == [0.9, 0.5, 0.5, 0.1]
    assert ranking["rank"].tolist() == [0, 1, 2, 3]


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 60), clusters=st.integers(1, 80), seed=st.integers(0, 1000))
def test_rounds_are_those_of_the_slow_reference(rows: int, clusters: int, seed: int):
    table, pooled = scored(rows, seed)
    ranking = rank_by_diverse_quality(table, pooled, clusters, seed)
    assert list(ranking.columns) == COLUMNS
    cluster_of = dict(zip(ranking["example_id"], ranking["cluster"], strict=True))
    best_first = rank_by_quality(table)["example_id"].tolist()
    assert ranking["example_id"].tolist() == round_robin(best_first, cluster_of)
    assert sorted(ranking["example_id"]) == sorted(table["example_id"]), "every row once"
    score = dict(table.select("example_id", "quality").iter_rows())
    assert ranking["score"].tolist() == [score[name] for name in ranking["example_id"]]
    different = ranking["cluster"].nunique()
    assert different <= min(clusters, rows)
    assert ranking["cluster"].head(different).nunique() == different, "the first rows are of different clusters"


def test_clusters_are_directions_whatever_was_thrown_away():
    table, pooled = scored(200)
    ranking = rank_by_diverse_quality(table, pooled, 4, seed=0)
    expert = dict(zip(table["example_id"], pooled.argmax(axis=1), strict=True))
    together = ranking.groupby("cluster")["example_id"].agg(lambda names: len({expert[name] for name in names}))
    assert together.tolist() == [1, 1, 1, 1]
    assert {expert[name] for name in rank_by_quality(table)["example_id"].head(4)} == {0}, "by quality they are alike"
    assert {expert[name] for name in ranking["example_id"].head(4)} == {0, 1, 2, 3}
    faint = pooled * np.linspace(0.1, 1, 200, dtype=np.float16)[:, None]
    again = rank_by_diverse_quality(table, faint, 4, seed=0)
    assert ranking["example_id"].tolist() == again["example_id"].tolist()


def test_one_cluster_is_plain_quality():
    table, pooled = scored(50)
    plain, diverse = rank_by_quality(table), rank_by_diverse_quality(table, pooled, 1, seed=0)
    assert plain["example_id"].tolist() == diverse["example_id"].tolist()


def test_the_order_of_the_rows_changes_nothing():
    table, pooled = scored(100)
    shuffled = np.random.default_rng(1).permutation(100)
    first = rank_by_diverse_quality(table, pooled, 7, seed=3)
    again = rank_by_diverse_quality(table[shuffled.tolist()], pooled[shuffled], 7, seed=3)
    assert first.equals(again)
    assert rank_by_quality(table).equals(rank_by_quality(table[shuffled.tolist()]))


def test_rows_that_route_alike_or_nowhere_are_ranked_all_the_same():
    table, pooled = scored(30)
    for points in (np.ones_like(pooled), np.zeros_like(pooled)):
        ranking = rank_by_diverse_quality(table, points, 5, seed=0)
        assert ranking["example_id"].tolist() == rank_by_quality(table)["example_id"].tolist()


def test_clusters_are_as_good_as_the_projects_own():
    """Cosines by k-means on unit rows: the labels are those of the rows sorted by id."""
    table, pooled = scored(80)
    order = np.argsort(table["example_id"].to_numpy())
    unit = pooled[order].astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    labels = dict(zip(np.sort(table["example_id"].to_numpy()), k_means(unit, 6, 25, 0).labels, strict=True))
    ranking = rank_by_diverse_quality(table, pooled, 6, seed=0)
    assert ranking["cluster"].tolist() == [str(labels[name]) for name in ranking["example_id"]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_quality_that_is_no_number_is_refused_by_name(value: float | None):
    table, pooled = scored(10)
    name = table["example_id"][3]
    table = table.with_columns(quality=pl.when(pl.col("example_id") == name).then(value).otherwise("quality"))
    for rank in (rank_by_quality, lambda table: rank_by_diverse_quality(table, pooled, 2, 0)):
        with pytest.raises(BadInput, match=rf"quality of 1 of 10 rows is no number; the first is '{name}'"):
            rank(table)


def test_routing_that_is_no_number_is_refused_by_name():
    table, pooled = scored(10)
    pooled[4, 2] = np.nan
    with pytest.raises(BadInput, match=f"mean routing of 1 of 10 rows.*'{table['example_id'][4]}'"):
        rank_by_diverse_quality(table, pooled, 2, 0)
