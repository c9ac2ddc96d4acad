"""Mixtures: our front and exact strategies against plain NSGA-II with a tolerance on the budget, in one run.

``python benchmarks/pareto.py`` poses ``--problems`` random problems of 50 clusters and 5 domains (influence normal,
sizes log-normal). Both searches have the same population and generations. The plain way takes a candidate whose rows
are within 1 % of the budget for a mixture, as public scripts of this method do. Reported: seconds, the best value of
the front as a share of the linear program's optimum over 200 random importances (mean and worst), and how far mixtures
miss the budget.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem as Vectorized
from pymoo.optimize import minimize

from winnow.pareto.front import Front, find_front, share_of_optimum
from winnow.pareto.problem import Problem
from winnow.pareto.strategies import STRATEGIES, choose

TOLERANCE = 0.01


class Tolerant(Vectorized):
    """The budget as a condition that may be missed a little."""

    def __init__(self, problem: Problem) -> None:
        count = len(problem.sizes)
        super().__init__(n_var=count, n_obj=len(problem.domains), n_ieq_constr=1, xl=problem.low, xu=problem.high)
        self.problem = problem

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *_: Any, **__: Any) -> None:
        out["F"] = -self.problem.gains(x)
        out["G"] = np.abs(x @ self.problem.sizes)[:, None] / self.problem.sizes.sum() - TOLERANCE


def a_problem(seed: int, clusters: int, domains: int) -> Problem:
    random = np.random.default_rng(seed)
    names = tuple(map(str, range(clusters)))
    sizes = np.ceil(random.lognormal(6, 1, clusters))
    return Problem.relative(tuple(map(str, range(domains))), names, random.normal(size=(domains, clusters)), sizes)


def plain(problem: Problem, population: int, generations: int, seed: int) -> Front:
    result = minimize(Tolerant(problem), NSGA2(pop_size=population), ("n_gen", generations), seed=seed)
    return Front(np.atleast_2d(result.X), problem.gains(np.atleast_2d(result.X)))


def miss(front: Front, problem: Problem) -> float:
    return float(np.abs(front.beta @ problem.sizes).max() / problem.sizes.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=5)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--domains", type=int, default=5)
    parser.add_argument("--population", type=int, default=200)
    parser.add_argument("--generations", type=int, default=200)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float, float, float]]] = {"plain": [], "ours": []}
    exact = []
    for seed in range(options.problems):
        problem = a_problem(seed, options.clusters, options.domains)
        for name, search in (("plain", plain), ("ours", find_front)):
            start = time.perf_counter()
            front = search(problem, options.population, options.generations, seed=seed)
            seconds = time.perf_counter() - start
            found[name].append((seconds, *share_of_optimum(front, problem), miss(front, problem)))
        start = time.perf_counter()
        for strategy in STRATEGIES:
            choose(problem, strategy)
        exact.append((time.perf_counter() - start) / len(STRATEGIES))
    columns = ("seconds", "share_of_optimum", "worst_share_of_optimum", "largest_miss_of_the_budget")
    result = {
        name: {column: round(float(value), 4) for column, value in zip(columns, np.mean(rows, axis=0), strict=True)}
        for name, rows in found.items()
    }
    settings = {
        name: getattr(options, name) for name in ("problems", "clusters", "domains", "population", "generations")
    }
    print(json.dumps({"benchmark": "pareto", **settings, **result, "seconds_per_strategy": round(np.mean(exact), 4)}))


if __name__ == "__main__":
    main()
