"""Intervals and verdicts: closed forms, and how often a true null is rejected."""

import numpy as np
import pytest
from scipy import special, stats

from support.answers import arm
from winnow.report.statistics import difference, estimate


def test_without_seed_noise_it_is_the_t_interval_of_the_rows():
    rows = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1, 0], dtype=float)
    found = estimate(np.tile(rows, (4, 1)))
    low, high = stats.t.interval(0.95, len(rows) - 1, rows.mean(), stats.sem(rows))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))


def test_where_rows_are_alike_it_is_welchs_test_of_the_seeds_means():
    rng = np.random.default_rng(0)
    first, second = rng.random((10, 1)) * np.ones((1, 50)), rng.random((5, 1)) * np.ones((1, 50))
    found = difference(first, second)
    expected = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    low, high = expected.confidence_interval()
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.half_width == pytest.approx((high - low) / 2)


def test_two_arms_are_compared_row_by_row():
    hard_and_easy = np.repeat([0.0, 1.0], 100)
    first, second = np.tile(hard_and_easy, (3, 1)), np.tile(hard_and_easy, (3, 1))
    second[:, :4] = 1.0
    unpaired = np.hypot(estimate(first).half_width, estimate(second).half_width)
    assert difference(second, first).half_width < unpaired / 3


# The third has rows that one arm can answer and the other cannot: the held-out rows' sampling counts.
@pytest.mark.parametrize(("seed_sd", "interaction"), [(0.0, 0.0), (0.2, 0.0), (0.1, 1.0)])
def test_a_true_null_is_rejected_about_five_times_in_a_hundred(seed_sd: float, interaction: float):
    rng = np.random.default_rng(1)
    repetitions, rows = 800, 300
    rejected = 0
    for _ in range(repetitions):
        skill = rng.normal(0.6, 1.0, rows)
        arms = (arm(rng, skill + interaction * rng.normal(size=rows), seeds, seed_sd) for seeds in (5, 10))
        rejected += difference(*arms).p_value < 0.05
    assert 0.025 < rejected / repetitions < 0.08


def test_rows_alone_would_find_differences_where_there_are_none():
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(300):
        first, second = (arm(rng, np.full(300, 0.6), 5, 0.3) for _ in range(2))
        rejected += stats.ttest_rel(first.mean(axis=0), second.mean(axis=0)).pvalue < 0.05
    assert rejected / 300 > 0.13


def test_intervals_cover_the_truth_about_95_times_in_a_hundred():
    rng = np.random.default_rng(3)
    truth = stats.norm.expect(special.expit, loc=0.6, scale=np.hypot(1.0, 0.2))
    covered = 0
    for _ in range(600):
        found = estimate(arm(rng, rng.normal(0.6, 1.0, 300), 5, 0.2))
        covered += abs(found.mean - truth) <= found.half_width
    assert 0.92 < covered / 600 < 0.985


def test_a_perfect_score_on_few_rows_is_not_certain():
    found = estimate(np.ones((2, 20)))
    assert found.half_width == pytest.approx(1 - 0.025 ** (1 / 20))
