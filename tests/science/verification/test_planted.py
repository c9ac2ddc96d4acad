"""Selections against planted truth, on six rows that can be counted by hand."""

from dataclasses import astuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import t

from winnow.report.separation import area, mean_area
from winnow.verification.placed import Placed, place
from winnow.verification.planted import planted_table
from winnow.verification.seeds import over_seeds

POOL = ["a", "b", "c", "d", "e", "f"]
TRUTH = pl.DataFrame(
    {
        "example_id": POOL,
        "kind": ["clean", "clean", "exact_duplicate", "near_duplicate", "wrong", "wrong"],
        "copy_of": [None, None, "a", "gone", None, None],
    }
)


def arm(*rankings: str, budget: int = 3) -> Placed:
    """Rankings of one letter a row, best first; a letter twice is a row taken twice."""
    weights, mixes = [], []
    for seed, ranking in enumerate(rankings):
        weights.append(pd.DataFrame({"example_id": list(ranking), "rank": range(len(ranking)), "seed": seed}))
        counts = pd.Series(list(ranking[:budget])).value_counts()
        mixes.append(pd.DataFrame({"example_id": counts.index, "multiplicity": counts.to_numpy(), "seed": seed}))
    return place(pd.concat(weights), pd.concat(mixes), POOL)


def row_of(placed: Placed) -> dict[str, float]:
    return planted_table({"arm": placed}, TRUTH).to_dict(orient="records")[0]


def test_a_row_stands_where_it_is_ranked_first_and_what_is_not_ranked_stands_behind_all():
    placed = arm("eaab", "fedcba")
    assert placed.ranks.tolist() == [[1, 2, 6, 6, 0, 6], [5, 4, 3, 2, 1, 0]]
    assert placed.times.tolist() == [[2, 0, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1]]
    again = Placed.from_frame(placed.to_frame())
    assert (again.ranks == placed.ranks).all()
    assert (again.times == placed.times).all()


def test_precision_counts_a_row_as_often_as_it_is_trained_on():
    found = row_of(arm("aaebcd", "efabcd"))
    assert found["rows"] == 3
    assert found["precision"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert found["pool_precision"] == pytest.approx(2 / 6)
    half = t.ppf(0.975, 1) * np.std([2 / 3, 1 / 3], ddof=1) / np.sqrt(2)
    assert found["precision_ci"] == pytest.approx(half)


def test_seeds_that_choose_the_same_tell_nothing_of_how_sure_a_share_is():
    assert np.isnan(row_of(arm("abcdef", "bacdef"))["precision_ci"])
    assert np.isnan(over_seeds([0.5]).half_width)


def test_copies_are_counted_and_so_are_those_beside_the_row_they_repeat():
    found = row_of(arm("acdbef", "cdebaf"))
    assert (found["exact_copies"], found["exact_kept"], found["exact_pairs"]) == (1, 1, 0.5)
    assert (found["near_copies"], found["near_pairs"]) == (1, 0), "its original is no row of the pool"
    none = row_of(arm("abefcd"))
    assert (none["exact_copies"], none["near_kept"], none["exact_pairs"]) == (0, 0, 0)


def test_the_area_is_the_share_of_pairs_that_a_ranking_has_in_order():
    assert row_of(arm("abcdef"))["auc/wrong"] == 1
    assert row_of(arm("aefbcd"))["auc/wrong"] == pytest.approx(0.5)
    assert row_of(arm("abcdef", "aefbcd"))["auc/wrong"] == pytest.approx(0.75), "the mean over seeds"
    assert row_of(arm("ae"))["auc/wrong"] == pytest.approx((1 + 1 + 0 + 0.5) / 4), "b and f are tied behind all others"
    assert "auc/near_duplicate" not in row_of(arm("abcdef")), "one row is too few for an interval"


def test_seeds_that_rank_alike_leave_the_interval_as_it_is_and_others_make_it_narrower():
    random = np.random.default_rng(0)
    pairs = [(random.normal(0.5, size=40), random.normal(size=30)) for _ in range(8)]
    alone = area(*pairs[0])
    assert astuple(mean_area([pairs[0]] * 3)) == pytest.approx(astuple(alone))
    mean = mean_area(pairs)
    assert mean.value == pytest.approx(np.mean([area(*pair).value for pair in pairs]))
    assert mean.high - mean.low < 0.6 * (alone.high - alone.low)
