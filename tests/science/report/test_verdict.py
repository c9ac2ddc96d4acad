"""Verdicts: what is said, how often it is wrong under a null, and what it would take to tell."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from support.answers import arm
from winnow.report.statistics import Estimate
from winnow.report.verdict import MOST_SEEDS, Verdict, holm, seeds_needed, verdicts

FAR, NEAR = Estimate(0.2, 0.05, 1e-6), Estimate(0.02, 0.015, 0.012)


def said(gap: Estimate, p_holm: float, needed: float = 17, control: str = "random") -> str:
    return Verdict(control, gap, p_holm, 8, needed).sentence


def test_holms_p_values_of_a_hand_computed_case():
    # 4 x 0.005; 3 x 0.01; 2 x 0.03; and 0.04, which may not be below what comes before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(values: list[float]):
    for place, found in enumerate(holm(values)):
        others = [n for n in range(len(values)) if n != place]
        sets = [(place, *more) for size in range(len(values)) for more in combinations(others, size)]
        closed = max(min(1.0, len(one) * min(values[n] for n in one)) for one in sets)
        assert found == pytest.approx(closed)


def test_what_is_no_number_is_no_test():
    found = holm([0.01, float("nan"), 0.03])
    assert found[::2] == pytest.approx([0.02, 0.03])
    assert math.isnan(found[1])


def test_a_verdict_says_which_way_and_how_far():
    assert said(FAR, 1e-5) == "better than random by 20.0 ± 5.0 points"
    assert said(Estimate(-0.2, 0.05, 1e-6), 1e-5) == "worse than random by 20.0 ± 5.0 points"


def test_a_finding_that_is_none_among_many_says_so():
    assert said(NEAR, 0.096) == (
        "not distinguishable from random at this budget (+2.0 ± 1.5 points, p 0.012, but 0.096 as one of 8 "
        "comparisons); if that is the difference, about 17 seeds of each would tell"
    )


def test_a_verdict_says_when_seeds_would_not_help():
    assert said(Estimate(0.001, 0.02, 0.9), 1.0, math.inf).endswith("more held-out rows, whatever the seeds")
    assert said(Estimate(0.001, 0.02, 0.9), 1.0, MOST_SEEDS + 1).endswith("more than 1,000 seeds of each")


def test_one_seed_gives_no_verdict():
    (found,) = verdicts({"one": ["random"]}, {"one": np.ones((1, 50)), "random": np.zeros((5, 50))})["one"]
    assert found.sentence == "cannot be told from one seed whether it differs from random (+100.0 points)"
    assert not found.is_told


def test_the_strongest_control_comes_first():
    rng = np.random.default_rng(0)
    correct = {name: arm(rng, np.full(200, logit), 5, 0.1) for name, logit in (("a", 1), ("weak", -1), ("strong", 0.5))}
    told = verdicts({"a": ["weak", "strong"], "weak": [], "strong": []}, correct)
    assert [one.control for one in told["a"]] == ["strong", "weak"]
    assert told["weak"] == []


def test_the_control_that_says_least_may_be_a_noisy_one_that_is_farther_away():
    shift = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] + np.zeros((1, 50))
    correct = {"a": 0.62 + 0.001 * shift, "quiet": 0.60 + 0.001 * shift, "noisy": 0.59 + 0.05 * shift}
    told = verdicts({"a": ["quiet", "noisy"]}, correct)["a"]
    assert [one.control for one in told] == ["noisy", "quiet"]
    assert [one.is_told for one in told] == [False, True]


@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.3])
def test_under_a_null_a_study_of_many_arms_calls_something_a_difference_at_most_at_its_level(seed_sd: float):
    rng = np.random.default_rng(1)
    studies, rows, names = 400, 200, [f"arm_{n}" for n in range(8)]
    wrong = 0
    for _ in range(studies):
        skill = rng.normal(0.6, 1.0, rows)
        correct = {"random": arm(rng, skill, 10, seed_sd)}
        correct |= {name: arm(rng, skill, 5, seed_sd) for name in names}
        told = verdicts({name: ["random"] for name in names}, correct)
        wrong += any(found.is_told for (found,) in told.values())
    # The most that a level of 5 % gives, but for one in a hundred sets of studies.
    assert wrong <= stats.binom.ppf(0.99, studies, 0.05)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("noise", [[1.0] * 10, [1.0] + [2.0] * 9, [1.0] * 9 + [5.0]], ids=["equal", "arms", "one arm"])
def test_few_seeds_that_lie_close_by_chance_are_no_finding(seeds: int, noise: list[float]):
    rng = np.random.default_rng(5)
    studies, names = 200, [f"arm_{n}" for n in range(9)]
    wrong = 0
    for _ in range(studies):
        correct = {"random": noise[0] * rng.normal(size=(10, 1)) + np.zeros((1, 5))}
        for name, own in zip(names, noise[1:], strict=True):
            correct[name] = own * rng.normal(size=(seeds, 1)) + np.zeros((1, 5))
        wrong += any(one.is_told for (one,) in verdicts({name: ["random"] for name in names}, correct).values())
    assert wrong <= stats.binom.ppf(0.99, studies, 0.05)


def test_a_planted_better_arm_is_found_among_nulls_and_nothing_else():
    rng = np.random.default_rng(2)
    skill = rng.normal(0.6, 1.0, 400)
    correct = {"random": arm(rng, skill, 10, 0.1), "better": arm(rng, skill + 1.0, 5, 0.1)}
    correct |= {f"null_{n}": arm(rng, skill, 5, 0.1) for n in range(7)}
    told = verdicts({name: ["random"] for name in correct if name != "random"}, correct)
    assert [name for name, (found,) in told.items() if found.is_told] == ["better"]
    assert told["better"][0].sentence.startswith("better than random by")


@pytest.mark.parametrize("level", [0.05, 0.05 / 8])
def test_with_the_seeds_that_are_needed_four_studies_of_five_tell(level: float):
    rng = np.random.default_rng(3)
    shift, sd = 0.035, 0.05
    # Seeds whose variance and distance are exactly what they are drawn with below; rows are all alike.
    seen = sd * stats.zscore(np.arange(5.0), ddof=1)[:, None] + np.zeros((1, 400))
    needed = int(seeds_needed(seen + shift, seen, level))
    first, second = shift + sd * rng.normal(size=(2000, needed)), sd * rng.normal(size=(2000, needed))
    found = stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue < level
    assert found.mean() == pytest.approx(0.8, abs=0.04)


def test_no_number_of_seeds_makes_up_for_few_rows():
    rng = np.random.default_rng(4)
    rows = rng.random(30) < 0.5
    flipped = np.where(np.arange(30) < 2, ~rows, rows)
    assert math.isinf(seeds_needed(np.tile(flipped, (5, 1)) * 1.0, np.tile(rows, (5, 1)) * 1.0, 0.05))
