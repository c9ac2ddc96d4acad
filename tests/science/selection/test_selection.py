"""Rankings are seeded by id, budgets are met exactly, and `length` has the validation set's lengths."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import ks_2samp

from winnow.errors import NothingToTrainOn
from winnow.params import BudgetParams
from winnow.selection import rank_all, rank_at_random, rank_by_validation_length, take


def pool_of(lengths: list[int] | np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"example_id": [f"math/a.jsonl:{i:05}" for i in range(len(lengths))], "n_tokens": lengths})


def test_random_ranking_depends_on_ids_and_seed_not_on_row_order():
    pool = pool_of([5] * 50)
    shuffled = pool.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(rank_at_random(pool, 7), rank_at_random(shuffled, 7))
    assert list(rank_at_random(pool, 7).example_id) != list(rank_at_random(pool, 8).example_id)


def test_every_ranking_holds_each_example_once():
    pool = pool_of(np.arange(1, 101))
    for ranking in (rank_all(pool), rank_at_random(pool, 0), rank_by_validation_length(pool, pool.head(20), 0)):
        assert sorted(ranking.example_id) == sorted(pool.example_id)
        assert list(ranking["rank"]) == list(range(100))


def test_length_and_random_share_no_more_rows_than_chance_for_the_same_seed():
    pool = pool_of(np.full(2000, 7))
    first, second = rank_by_validation_length(pool, pool, 3), rank_at_random(pool, 3)
    shared = len(set(first.example_id.head(200)) & set(second.example_id.head(200)))
    # Hypergeometric: 20 are expected, with a standard deviation of 4.
    assert shared < 36


def test_length_matches_the_validation_lengths_in_every_prefix():
    random = np.random.default_rng(0)
    pool = pool_of(random.integers(1, 1000, 5000))
    validation = pool_of(random.integers(1, 300, 400))
    ranking = rank_by_validation_length(pool, validation, seed=1)
    lengths = pool.set_index("example_id")["n_tokens"]
    for prefix in (100, 300, 900):
        chosen = lengths.loc[ranking.example_id.head(prefix)]
        assert chosen.max() <= validation.n_tokens.max()
        assert ks_2samp(chosen, validation.n_tokens).statistic < 0.1
        assert ks_2samp(chosen, pool.n_tokens).statistic > 0.5


@given(share=st.floats(0.01, 1), size=st.integers(100, 400))
def test_a_share_takes_the_floor_of_the_pools_rows(share: float, size: int):
    pool = pool_of([3] * size)
    mix = take(rank_at_random(pool, 0), pool, BudgetParams(share=share))
    assert len(mix) == int(np.floor(share * size))
    assert mix.multiplicity.sum() == len(mix)


def test_a_token_budget_takes_the_longest_prefix_that_fits():
    pool = pool_of([4, 4, 4, 1])
    ranking = rank_all(pool)
    assert len(take(ranking, pool, BudgetParams(tokens=8))) == 2
    assert len(take(ranking, pool, BudgetParams(tokens=11))) == 2
    assert len(take(ranking, pool, BudgetParams(tokens=13))) == 4


def test_a_budget_that_takes_nothing_is_an_error_with_a_remedy():
    pool = pool_of([4, 4])
    with pytest.raises(NothingToTrainOn, match=r"Raise `budget\.rows`"):
        take(rank_all(pool), pool, BudgetParams(tokens=3))


@pytest.mark.parametrize("given_budget", [{}, {"rows": 3, "share": 0.1}])
def test_a_budget_is_exactly_one_of_rows_tokens_share(given_budget: dict[str, float]):
    with pytest.raises(ValidationError, match="exactly one"):
        BudgetParams.model_validate(given_budget)
