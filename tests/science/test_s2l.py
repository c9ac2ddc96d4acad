"""S2L's sampler against an independent one that follows the rules word by word."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.params import BudgetParams, S2lParams
from winnow.selection import rank_by_clusters, take
from winnow.selection.s2l import share_out

SETTINGS = S2lParams()


def pool_of(sizes: dict[str, list[int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A pool with clusters of these sizes in each subset."""
    rows = [
        {"example_id": f"{subset}/{cluster:03}:{number:04}", "subset": subset, "s2l_cluster": cluster}
        for subset, counts in sizes.items()
        for cluster, count in enumerate(counts)
        for number in range(count)
    ]
    table = pd.DataFrame(rows)
    return table[["example_id", "subset"]].assign(n_tokens=10), table


def oracle(sizes: dict[str, list[int]], budget: int, tiny: int = 2) -> dict[tuple[str, int], int]:
    """How many rows each cluster gives, one decision after the other."""
    counts: dict[tuple[str, int], int] = {}
    left = budget
    subsets = sorted(sizes, key=lambda name: (sum(sizes[name]), name))
    for place, name in enumerate(subsets):
        wanted = min(sum(sizes[name]), left // (len(subsets) - place))
        left -= wanted
        small = [c for c, size in enumerate(sizes[name]) if size <= tiny]
        large = sorted((size, c) for c, size in enumerate(sizes[name]) if size > tiny)
        need = wanted
        for number, (size, c) in enumerate(large):
            counts[name, c] = min(size, need // (len(large) - number))
            need -= counts[name, c]
        for c in small:
            counts[name, c] = min(need, sizes[name][c])
            need -= counts[name, c]
        assert need == 0 or all(counts[name, c] == size for size, c in large)
    return counts


def drawn(sizes: dict[str, list[int]], budget: BudgetParams, seed: int = 0) -> dict[tuple[str, int], int]:
    pool, clusters = pool_of(sizes)
    mix = take(rank_by_clusters(pool, clusters, budget, SETTINGS, seed), pool, budget)
    found = clusters[clusters["example_id"].isin(mix["example_id"])]
    assert len(mix) == len(found)
    return {(subset, cluster): len(part) for (subset, cluster), part in found.groupby(["subset", "s2l_cluster"])}


def test_the_worked_case():
    counts = drawn({"math": [1, 2, 3, 10, 50, 500]}, BudgetParams(rows=100))
    assert [counts.get(("math", cluster), 0) for cluster in range(6)] == [0, 0, 3, 10, 43, 44]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.dictionaries(
        st.sampled_from("abc"), st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=3
    ),
    share=st.floats(0.05, 1),
)
def test_every_cluster_gives_what_an_independent_sampler_gives(sizes: dict[str, list[int]], share: float):
    rows = max(1, int(share * sum(map(sum, sizes.values()))))
    counts = drawn(sizes, BudgetParams(rows=rows))
    expected = oracle(sizes, rows)
    assert sum(counts.values()) == rows, "the budget is met exactly"
    for subset, clusters in sizes.items():
        for cluster, size in enumerate(clusters):
            if size > SETTINGS.tiny:
                assert counts.get((subset, cluster), 0) == expected[subset, cluster]
        tiny = [cluster for cluster, size in enumerate(clusters) if size <= SETTINGS.tiny]
        assert sum(counts.get((subset, c), 0) for c in tiny) == sum(expected[subset, c] for c in tiny)


def test_a_smaller_subset_gives_all_it_has_and_the_others_share_the_rest():
    assert share_out({"a": 5, "b": 100, "c": 300}, 205) == {"a": 5, "b": 100, "c": 100}
    assert share_out({"a": 5, "b": 100}, 1000) == {"a": 5, "b": 100}


def test_a_budget_of_tokens_is_not_exceeded_and_not_wasted():
    pool, clusters = pool_of({"a": [20, 30], "b": [50]})
    pool["n_tokens"] = np.random.default_rng(0).integers(5, 50, len(pool))
    budget = BudgetParams(tokens=600)
    mix = take(rank_by_clusters(pool, clusters, budget, SETTINGS, 0), pool, budget)
    used = pool.set_index("example_id").loc[mix["example_id"], "n_tokens"].sum()
    assert 600 - 50 < used <= 600


def test_the_seed_decides_and_the_order_of_the_pool_does_not():
    pool, clusters = pool_of({"a": [20, 30], "b": [50]})
    budget = BudgetParams(rows=30)
    first = rank_by_clusters(pool, clusters, budget, SETTINGS, 0)
    again = rank_by_clusters(pool.sample(frac=1, random_state=1), clusters.sample(frac=1), budget, SETTINGS, 0)
    pd.testing.assert_frame_equal(first, again)
    other = rank_by_clusters(pool, clusters, budget, SETTINGS, 1)
    assert set(first["example_id"].head(30)) != set(other["example_id"].head(30))


def test_the_table_says_which_cluster_each_row_was_drawn_from():
    pool, clusters = pool_of({"a": [3], "b": [3]})
    table = rank_by_clusters(pool, clusters, BudgetParams(rows=2), SETTINGS, 0)
    assert set(table["cluster"]) == {"a/0", "b/0"}


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_budget_smaller_than_the_number_of_clusters_is_met(rows: int):
    assert sum(drawn({"a": [1, 1, 4, 5], "b": [9, 2]}, BudgetParams(rows=rows)).values()) == rows
