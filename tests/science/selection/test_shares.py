"""Mixtures in given shares: counts are exact, copies even, and draws depend on the seed alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.params import BudgetParams
from winnow.selection import rank_by_shares, take
from winnow.selection.shares import copies, largest_remainder


@settings(max_examples=1000)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(sum), st.integers(0, 10**6))
def test_counts_sum_exactly_and_are_off_by_less_than_one(shares: list[float], total: int):
    weights = np.array(shares)
    counts = largest_remainder(weights, total)
    assert counts.sum() == total
    assert (counts >= 0).all()
    assert np.abs(counts - weights / weights.sum() * total).max() < 1 + 1e-6 * total


def test_ties_go_to_the_first():
    assert largest_remainder(np.ones(4), 6).tolist() == [2, 2, 1, 1]


@given(st.integers(1, 30), st.integers(0, 200), st.integers(0, 100))
def test_every_row_is_taken_as_often_as_any_other_or_once_more(size: int, count: int, seed: int):
    drawn = copies(np.arange(size), count, np.random.default_rng(seed))
    times = np.bincount(drawn, minlength=size)
    assert times.sum() == count
    assert times.max() - times.min() <= 1


def a_pool(rows: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = [f"f:{n:03}" for n in range(rows)]
    pool = pd.DataFrame({"example_id": ids, "n_tokens": np.arange(rows) % 7 + 5})
    return pool, pd.DataFrame({"example_id": ids, "cluster": [f"c{n % 3}" for n in range(rows)]})


def test_the_mix_has_the_shares_it_was_given():
    pool, clusters = a_pool()
    budget = BudgetParams(rows=40)
    ranking = rank_by_shares(pool, clusters, {"c0": 0.75, "c1": 0.25, "c2": 0.0}, budget, seed=1)
    mix = take(ranking, pool, budget).merge(clusters, on="example_id")
    assert mix.groupby("cluster")["multiplicity"].sum().to_dict() == {"c0": 30, "c1": 10}
    # 30 rows of 20: each once, and ten of them twice.
    assert sorted(mix[mix["cluster"] == "c0"]["multiplicity"].value_counts().to_dict().items()) == [(1, 10), (2, 10)]


def test_a_budget_of_tokens_is_kept_in_the_same_shares():
    pool, clusters = a_pool()
    budget = BudgetParams(tokens=200)
    ranking = rank_by_shares(pool, clusters, {"c0": 0.5, "c1": 0.5, "c2": 0.0}, budget, seed=0)
    mix = take(ranking, pool, budget).merge(pool, on="example_id").merge(clusters, on="example_id")
    assert 180 <= (mix["n_tokens"] * mix["multiplicity"]).sum() <= 200
    counts = mix.groupby("cluster")["multiplicity"].sum()
    assert abs(counts.get("c0", 0) - counts.get("c1", 0)) <= 1


def test_seeds_draw_other_rows_and_the_same_seed_the_same():
    pool, clusters = a_pool()
    shares, budget = {"c0": 0.4, "c1": 0.3, "c2": 0.3}, BudgetParams(rows=20)
    one, same, other = (rank_by_shares(pool, clusters, shares, budget, seed) for seed in (0, 0, 1))
    assert one.equals(same)
    assert set(one["example_id"][:20]) != set(other["example_id"][:20])
    assert one.equals(rank_by_shares(pool.iloc[::-1], clusters, shares, budget, 0))


def test_rows_of_no_cluster_are_in_no_mixture():
    pool, clusters = a_pool()
    ranking = rank_by_shares(pool, clusters[:30], {"c0": 1.0, "c1": 0.0, "c2": 0.0}, BudgetParams(rows=5), 0)
    assert set(ranking["example_id"]) <= set(clusters["example_id"][:30])


def test_a_row_that_is_ranked_several_times_is_taken_as_often():
    ranking = pd.DataFrame({"example_id": ["b", "a", "b", "c"], "rank": range(4)})
    mix = take(ranking, pd.DataFrame({"example_id": list("abc"), "n_tokens": 1}), None)
    assert mix.to_dict("list") == {"example_id": ["b", "a", "c"], "multiplicity": [2, 1, 1]}
    assert pytest.approx(mix["multiplicity"].sum()) == 4
