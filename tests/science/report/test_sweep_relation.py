"""Validation loss against accuracy: coefficients, intervals, and the test, held to SciPy and to closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from winnow.report.sweep_relation import relate, tell


@pytest.fixture
def related() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    losses = rng.normal(size=30)
    return losses, -losses + 0.7 * rng.normal(size=30)


def test_coefficients_are_scipys(related: tuple[np.ndarray, np.ndarray]):
    found = relate(*related)
    assert found.pearson.value == pytest.approx(stats.pearsonr(*related).statistic)
    assert found.spearman.value == pytest.approx(stats.spearmanr(*related).statistic)


def test_the_interval_of_pearson_is_scipys(related: tuple[np.ndarray, np.ndarray]):
    expected = stats.pearsonr(*related).confidence_interval(0.95)
    found = relate(*related).pearson
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_spearman_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    true = 6 / math.pi * math.asin(0.6 / 2)
    covered = 0
    for _ in range(200):
        first = rng.normal(size=40)
        found = relate(first, 0.6 * first + 0.8 * rng.normal(size=40)).spearman
        covered += found.low <= true <= found.high
    assert 180 <= covered <= 200


def test_the_p_value_of_few_settings_counts_all_permutations():
    # Of the 24 orders of four settings, the same and the reversed one are as extreme as this.
    assert relate(np.arange(4.0), -np.arange(4.0)).p_value == pytest.approx(2 / 24)


def test_ties_are_ranked_in_the_middle():
    losses, accuracies = np.array([1.0, 2, 2, 3, 4]), np.array([5.0, 4, 4, 4, 1])
    assert relate(losses, accuracies).spearman.value == pytest.approx(stats.spearmanr(losses, accuracies).statistic)


def test_points_in_one_line_have_no_interval():
    found = relate(np.arange(8.0), -2 * np.arange(8.0)).pearson
    assert found.value == pytest.approx(-1)
    assert math.isnan(found.low)
    assert str(found) == "-1.00"


def test_the_sentence_is_plain(related: tuple[np.ndarray, np.ndarray]):
    losses, accuracies = related
    assert tell(relate(losses, accuracies)).startswith("Lower validation loss goes with higher accuracy")
    assert "LOWER accuracy" in tell(relate(losses, -accuracies))
    shuffled = np.random.default_rng(2).permutation(accuracies)
    assert "not distinguishable from unrelated" in tell(relate(losses, shuffled))


@pytest.mark.parametrize("accuracies", [[0.1, 0.2, 0.3], [0.0, 0.0, 0.0, 0.0, 0.0]])
def test_too_few_settings_or_equal_ones_cannot_tell(accuracies: list[float]):
    found = relate(np.arange(float(len(accuracies))), np.array(accuracies))
    assert math.isnan(found.p_value)
    assert "cannot tell" in tell(found)
