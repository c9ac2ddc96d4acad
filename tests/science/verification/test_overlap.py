"""Overlap of selections: against plain loops over pairs of seeds, scipy's correlation, and random draws."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import spearmanr

from winnow.report.heatmap import draw_heatmaps
from winnow.verification.overlap import as_squares, jaccard_by_chance, overlap_table
from winnow.verification.placed import Placed

ROWS = 40


def drawn(seeds: int, size: int, seed: int, ranked: int = ROWS) -> Placed:
    """Random rankings that end after ``ranked`` rows, of which the first ``size`` are chosen."""
    random = np.random.default_rng(seed)
    orders = [random.permutation(ROWS) for _ in range(seeds)]
    ranks = np.stack([np.argsort(order) for order in orders])
    times = (ranks < size).astype(np.int32)
    return Placed(np.where(ranks < ranked, ranks, ROWS), times)


def test_means_over_pairs_of_seeds_are_those_of_plain_loops():
    arms = {"random": drawn(3, 10, 0), "other": drawn(2, 15, 1, ranked=20)}
    table = overlap_table(arms).set_index(["arm", "other"])

    def plain(pairs: list[tuple[tuple[str, int], tuple[str, int]]]) -> tuple[float, float]:
        jaccards, correlations = [], []
        for (one, first), (other, second) in pairs:
            left, right = set(np.flatnonzero(arms[one].times[first])), set(np.flatnonzero(arms[other].times[second]))
            jaccards.append(len(left & right) / len(left | right))
            correlations.append(spearmanr(arms[one].ranks[first], arms[other].ranks[second])[0])
        return np.mean(jaccards), np.mean(correlations)

    between = [(("random", first), ("other", second)) for first, second in product(range(3), range(2))]
    assert tuple(table.loc[("random", "other"), ["jaccard", "spearman"]]) == pytest.approx(plain(between))
    within = [(("random", first), ("random", second)) for first, second in combinations(range(3), 2)]
    assert tuple(table.loc[("random", "random"), ["jaccard", "spearman"]]) == pytest.approx(plain(within))


def test_chance_is_what_random_sets_share():
    random = np.random.default_rng(0)
    shares = []
    for _ in range(4000):
        left, right = (set(random.choice(30, size, replace=False)) for size in (6, 9))
        shares.append(len(left & right) / len(left | right))
    assert jaccard_by_chance(6, 9, 30) == pytest.approx(np.mean(shares), abs=0.005)
    assert jaccard_by_chance(30, 30, 30) == pytest.approx(1)
    assert jaccard_by_chance(1, 1, 4) == pytest.approx(1 / 4)
    assert jaccard_by_chance(100_000, 100_000, 1_000_000) == pytest.approx(0.1 / 1.9, rel=1e-3)


def test_an_arm_of_one_seed_is_not_compared_with_itself():
    arms = {"random": drawn(2, 10, 0), "one": drawn(1, 10, 1)}
    table = overlap_table(arms)
    assert list(zip(table["arm"], table["other"], strict=True)) == [("random", "random"), ("random", "one")]
    jaccard, spearman = as_squares(table)
    assert np.isnan(jaccard.values[1, 1])
    assert spearman.values[0, 1] == spearman.values[1, 0] == table["spearman"][1]
    figure = draw_heatmaps({"first": jaccard, "second": spearman}, ("arm", "arm"), most=1)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["first", "second"]
