"""Each strategy's mixture is the best there is by its own measure; every mixture keeps the budget and its bounds."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import BadSetting
from winnow.pareto.problem import Problem
from winnow.pareto.strategies import STRATEGIES, Scaled, choose

DOMAINS = ("code", "math", "science")
ALL = [*STRATEGIES, "random_beta", *(f"best_{name}" for name in DOMAINS)]


def a_problem(seed: int = 0, clusters: int = 5, mode: str = "relative", **settings: object) -> Problem:
    random = np.random.default_rng(seed)
    names = tuple(f"c{n}" for n in range(clusters))
    arguments = (DOMAINS, names, random.normal(size=(3, clusters)), random.integers(5, 200, clusters).astype(float))
    if mode == "relative":
        return Problem.relative(*arguments, **settings)
    return Problem.shares(*arguments, **{"cap": 0.5, **settings})


def corners(problem: Problem) -> np.ndarray:
    """All corners of the set of mixtures: every beta but one at a bound, the one left keeps the budget."""
    found = []
    for free in range(len(problem.sizes)):
        others = [n for n in range(len(problem.sizes)) if n != free]
        for sides in product((0, 1), repeat=len(others)):
            beta = np.zeros(len(problem.sizes))
            beta[others] = [(problem.low, problem.high)[side][n] for side, n in zip(sides, others, strict=True)]
            beta[free] = -(beta @ problem.sizes) / problem.sizes[free]
            if problem.low[free] - 1e-12 <= beta[free] <= problem.high[free] + 1e-12:
                found.append(beta)
    return np.array(found)


def mixtures(problem: Problem, count: int = 20_000) -> np.ndarray:
    """Corners and random points between them."""
    ends = corners(problem)
    random = np.random.default_rng(1)
    weights = random.dirichlet(np.full(len(ends), 0.05), count)
    return np.concatenate([ends, weights @ ends])


@pytest.mark.parametrize("mode", ["relative", "share"])
@pytest.mark.parametrize("seed", range(4))
def test_linear_strategies_are_the_best_of_all_corners(seed: int, mode: str):
    problem = a_problem(seed, mode=mode)
    ends = corners(problem)
    for number, name in enumerate(DOMAINS):
        best = problem.gains(choose(problem, f"best_{name}").beta)[number]
        assert best == pytest.approx(problem.gains(ends)[:, number].max(), abs=1e-9)
    importance = {"math": 3.0, "code": 1.0}
    scaled = Scaled(problem, importance)
    weighted = scaled.gains(choose(problem, "weighted", importance).beta) @ scaled.importances
    assert weighted == pytest.approx((scaled.gains(ends) @ scaled.importances).max(), abs=1e-9)


@pytest.mark.parametrize("mode", ["relative", "share"])
@pytest.mark.parametrize("seed", range(4))
def test_no_mixture_is_better_than_the_chosen_by_its_measure(seed: int, mode: str):
    problem = a_problem(seed, mode=mode)
    scaled = Scaled(problem)
    tried = scaled.gains(mixtures(problem))
    worst = scaled.gains(choose(problem, "conservative").beta).min()
    assert worst >= tried.min(axis=1).max() - 1e-7
    distance = np.square(1 - scaled.gains(choose(problem, "balanced").beta)).sum()
    assert distance <= np.square(1 - tried).sum(axis=1).min() + 1e-9
    knee = choose(problem, "knee")
    extremes = scaled.gains(scaled.own_best)
    if "in place of knee" in knee.note:
        assert np.linalg.cond(extremes) > 1e6
        return
    normal = np.linalg.solve(extremes, np.ones(3))
    normal *= np.sign(normal.sum() - 1)
    assert normal @ scaled.gains(knee.beta) >= (tried @ normal).max() - 1e-7


def test_closed_form_is_the_centred_influence_at_the_largest_change():
    problem = a_problem(change=0.2)
    beta = choose(problem, "closed_form").beta
    scaled = Scaled(problem)
    average = (problem.influence / scaled.best[:, None]).mean(axis=0)
    centred = average - (average * problem.sizes).sum() / problem.sizes.sum()
    assert beta == pytest.approx(0.2 * centred / np.abs(centred).max(), abs=1e-12)


def test_all_negative_influence_still_gains_by_the_closed_form():
    """The least harmful clusters grow: uncentred, every one would shrink and the budget would be missed."""
    random = np.random.default_rng(0)
    problem = Problem.relative(("a",), tuple("wxyz"), -random.random((1, 4)), np.array([10.0, 20, 30, 40]))
    for strategy in ("closed_form", "balanced", "best_a", "conservative"):
        beta = choose(problem, strategy).beta
        assert beta @ problem.sizes == pytest.approx(0, abs=1e-9)
        assert problem.gains(beta)[0] > 0


def test_additive_is_the_mean_of_each_domains_own_best():
    problem = a_problem(2)
    own = [choose(problem, f"best_{name}").beta for name in DOMAINS]
    assert choose(problem, "additive").beta == pytest.approx(np.mean(own, axis=0))


@given(
    seed=st.integers(0, 10_000),
    clusters=st.integers(1, 40),
    mode=st.sampled_from(["relative", "share"]),
    strategy=st.sampled_from(ALL),
)
def test_every_mixture_is_within_bounds_and_on_the_budget(seed: int, clusters: int, mode: str, strategy: str):
    problem = a_problem(seed, clusters, mode, **({"cap": min(1.0, 2 / clusters)} if mode == "share" else {}))
    beta = choose(problem, strategy, seed=seed).beta
    assert abs(beta @ problem.sizes) <= 1e-9 * problem.sizes.sum()
    assert (beta >= problem.low).all()
    assert (beta <= problem.high).all()
    assert problem.weights(beta).sum() == pytest.approx(1)


def test_a_domain_that_nothing_helps_is_left_out_and_named():
    problem = a_problem()
    influence = problem.influence.copy()
    influence[1] = 0.0
    flat = Problem.relative(DOMAINS, problem.clusters, influence, problem.sizes)
    for strategy in ("balanced", "conservative", "weighted"):
        choice = choose(flat, strategy)
        assert "math" in choice.note
        assert (flat.gains(choice.beta)[[0, 2]] > 0).all()


def test_one_cluster_and_no_influence_leave_the_pool_as_it_is():
    one = Problem.relative(DOMAINS, ("c0",), np.ones((3, 1)), np.array([7.0]))
    for strategy in STRATEGIES:
        choice = choose(one, strategy)
        assert choice.beta == pytest.approx([0.0])
        assert "no domain can gain" in choice.note


def test_the_knee_of_extremes_that_coincide_is_the_balanced_mixture():
    row = np.array([1.0, -1.0, 0.5, 0.2])
    problem = Problem.relative(("a", "b"), tuple("wxyz"), np.stack([row, 2 * row]), np.array([10.0, 20, 30, 40]))
    knee = choose(problem, "knee")
    assert "balanced in place of knee" in knee.note
    assert knee.beta == pytest.approx(choose(problem, "balanced").beta)


def test_two_hundred_clusters_of_one_row_and_more():
    random = np.random.default_rng(3)
    sizes = np.concatenate([[1.0], random.integers(1, 10_000, 199).astype(float)])
    problem = Problem.relative(DOMAINS, tuple(map(str, range(200))), random.normal(size=(3, 200)), sizes)
    for strategy in ALL:
        assert abs(choose(problem, strategy).beta @ sizes) < 1e-6 * sizes.sum()


def test_gains_diminish_beyond_one_repeat():
    problem = a_problem(diminishing=True, change=3.0)
    twice = np.zeros(5)
    twice[0] = 1.0
    linear = replace(problem, diminishing=False)
    assert problem.gains(twice) == pytest.approx(linear.gains(twice) * 15 * (1 - np.exp(-1 / 15)))
    less = -0.5 * twice
    assert problem.gains(less) == pytest.approx(linear.gains(less))


@pytest.mark.parametrize("change", [0.0, 1.5])
def test_a_change_that_no_cluster_can_make_is_refused(change: float):
    with pytest.raises(BadSetting, match=r"pareto\.change"):
        a_problem(change=change)


def test_a_cap_that_fills_no_mixture_is_refused():
    with pytest.raises(BadSetting, match=r"Raise it above 0\.2"):
        a_problem(mode="share", cap=0.15)


def test_unknown_strategies_and_domains_are_clear_errors():
    with pytest.raises(BadSetting, match="Known: weighted"):
        choose(a_problem(), "best")
    with pytest.raises(BadSetting, match="code, math, science"):
        choose(a_problem(), "best_law")
    with pytest.raises(BadSetting, match=r"pareto\.importance"):
        choose(a_problem(), "weighted", {"law": 1.0})
