"""The front: nothing on it is beaten, and it reaches what linear programs reach."""

import numpy as np
import pytest

from science.pareto.test_strategies import DOMAINS, a_problem, mixtures
from winnow.pareto.front import choose_from, find_front, share_of_optimum
from winnow.pareto.problem import Problem


@pytest.mark.parametrize("algorithm", ["nsga2", "nsga3"])
def test_no_mixture_of_the_front_beats_another(algorithm: str):
    problem = a_problem()
    front = find_front(problem, population=60, generations=40, algorithm=algorithm)
    better = (front.gains[:, None] > front.gains[None] + 1e-12).all(axis=2)
    assert not better.any()
    assert np.abs(front.beta @ problem.sizes).max() < 1e-6


def test_the_front_reaches_the_optimum_of_linear_programs():
    problem = a_problem(clusters=30)
    front = find_front(problem, population=100, generations=60)
    mean, worst = share_of_optimum(front, problem)
    assert 0.98 < mean <= 1 + 1e-9
    assert 0.95 < worst <= mean


def test_the_front_is_the_same_for_the_same_seed():
    one, two = (find_front(a_problem(), population=40, generations=10, seed=3) for _ in range(2))
    assert np.array_equal(one.beta, two.beta)


def test_the_smallest_population_will_do():
    front = find_front(a_problem(), population=8, generations=2)
    assert np.abs(front.beta @ a_problem().sizes).max() < 1e-6


def test_one_domain_has_a_front_of_one_mixture():
    problem = a_problem()
    alone = Problem.relative(("math",), problem.clusters, problem.influence[:1], problem.sizes)
    front = find_front(alone, population=20, generations=5)
    assert len(front.beta) == 1
    assert share_of_optimum(front, alone) == pytest.approx((1.0, 1.0))


def test_without_any_influence_the_pool_is_taken_as_it_is():
    problem = a_problem()
    flat = Problem.relative(DOMAINS, problem.clusters, np.zeros((3, 5)), problem.sizes)
    front = find_front(flat, population=20, generations=5)
    assert front.beta == pytest.approx(np.zeros((1, 5)))
    assert share_of_optimum(front, flat) == (1.0, 1.0)


def test_with_diminishing_gains_the_chosen_are_the_fronts_best():
    problem = a_problem(4, diminishing=True, change=3.0)
    front = find_front(problem, population=80, generations=80)
    for number, name in enumerate(DOMAINS):
        gains = problem.gains(choose_from(front, problem, f"best_{name}", {}, 0).beta)
        assert gains[number] >= front.gains[:, number].max() - 1e-12
        tried = problem.gains(mixtures(problem, 5000))
        assert gains[number] >= tried[:, number].max() - 0.02 * abs(tried[:, number].max())
    exact = choose_from(front, problem, "additive", {}, 0).beta
    assert exact @ problem.sizes == pytest.approx(0, abs=1e-6)


def test_with_linear_gains_the_chosen_are_exact():
    problem = a_problem(1)
    front = find_front(problem, population=40, generations=5)
    best = choose_from(front, problem, "best_math", {}, 0)
    assert problem.gains(best.beta)[1] >= front.gains[:, 1].max() - 1e-9
