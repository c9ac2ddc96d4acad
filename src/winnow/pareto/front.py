"""The Pareto front of mixtures, by NSGA-II or NSGA-III with every candidate repaired onto the budget.

A penalty or a tolerance on the budget lets candidates overspend and miss the optimum; a repaired candidate is always a
mixture. The search begins with the exact optima of linear gains, so that it has only to fill what lies between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.callback import Callback
from pymoo.core.problem import Problem as Vectorized
from pymoo.core.repair import Repair
from pymoo.optimize import minimize
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.ref_dirs import get_reference_directions

from winnow.pareto.problem import Problem
from winnow.pareto.solver import solve
from winnow.pareto.strategies import BEST, COINCIDE, STRATEGIES, Choice, Scaled, choose

Algorithm = Literal["auto", "nsga2", "nsga3"]
# Two domains are told apart by crowding as well as by directions, and sooner.
MOST_FOR_NSGA2 = 2
CHECKS = 200


@dataclass(frozen=True)
class Front:
    """Mixtures of which none is better than another for all domains: beta [n, clusters], gains [n, domains]."""

    beta: np.ndarray
    gains: np.ndarray


class _Mixtures(Vectorized):
    def __init__(self, scaled: Scaled) -> None:
        problem = scaled.problem
        super().__init__(n_var=len(problem.sizes), n_obj=len(scaled.kept), xl=problem.low, xu=problem.high)
        self.scaled = scaled

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *_: Any, **__: Any) -> None:
        out["F"] = -self.scaled.gains(x)


class _OntoBudget(Repair):
    def _do(self, problem: _Mixtures, x: np.ndarray, **_: Any) -> np.ndarray:
        return problem.scaled.problem.onto_budget(x)


class _Tell(Callback):
    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self.tell = tell

    def notify(self, algorithm: Any) -> None:
        self.tell(int(algorithm.n_gen))


def find_front(
    problem: Problem,
    population: int = 200,
    generations: int = 200,
    algorithm: Algorithm = "auto",
    seed: int = 0,
    tell: Callable[[int], None] = lambda _: None,
) -> Front:
    """Search the front; one domain, or none that can gain, has a front of one mixture."""
    scaled = Scaled(problem)
    start = _exact(problem, population // 2, seed)
    if len(scaled.kept) < 2:
        beta = start[[np.argmax(scaled.gains(start).sum(axis=1))]]
        return Front(beta, problem.gains(beta))
    random = np.random.default_rng(seed)
    others = random.uniform(problem.low, problem.high, (max(0, population - len(start)), len(problem.sizes)))
    start = np.concatenate([start, problem.onto_budget(others)])
    shared = {"pop_size": len(start), "sampling": start, "repair": _OntoBudget()}
    if algorithm == "nsga2" or (algorithm == "auto" and len(scaled.kept) <= MOST_FOR_NSGA2):
        search = NSGA2(**shared)
    else:
        directions = get_reference_directions("energy", len(scaled.kept), len(start), seed=seed)
        search = NSGA3(directions, **shared)
    result = minimize(_Mixtures(scaled), search, ("n_gen", generations), seed=seed, callback=_Tell(tell))
    return _best_of(scaled, np.concatenate([np.atleast_2d(result.X), start]))


def choose_from(front: Front, problem: Problem, strategy: str, importance: Mapping[str, float], seed: int) -> Choice:
    """The mixture that ``strategy`` takes: exactly where gains are linear, else the front's best by its measure."""
    exact = choose(problem, strategy, importance, seed)
    measure = _measure(strategy, Scaled(problem, importance), front) if problem.diminishing else None
    if measure is None:
        return exact
    candidates = np.concatenate([front.beta, exact.beta[None]])
    return Choice(strategy, candidates[np.argmax(measure(problem.gains(candidates)))], exact.note)


def share_of_optimum(front: Front, problem: Problem, seed: int = 1) -> tuple[float, float]:
    """What the front's best reaches of the exact optimum of linear gains, over random importances: mean and worst."""
    scaled = Scaled(problem)
    if not len(scaled.kept):
        return 1.0, 1.0
    random = np.random.default_rng(seed)
    gains = scaled.gains(front.beta)
    shares = []
    for importance in random.dirichlet(np.ones(len(scaled.kept)), CHECKS):
        optimum = scaled.gains(solve(scaled.problem, -importance @ scaled.rate)) @ importance
        shares.append(min(1.0, float((gains @ importance).max() / optimum)))
    return float(np.mean(shares)), float(np.min(shares))


def _measure(strategy: str, scaled: Scaled, front: Front) -> Callable[[np.ndarray], np.ndarray] | None:
    """What a strategy wants most of gains [n, domains]; None for those that are a formula."""
    kept = scaled.kept
    if strategy.startswith(BEST):
        place = scaled.problem.domains.index(strategy.removeprefix(BEST))
        return lambda gains: gains[:, place]
    if strategy not in STRATEGIES or strategy in ("closed_form", "additive") or not len(kept):
        return None
    best = np.maximum(front.gains[:, kept].max(axis=0), np.finfo(float).tiny)
    extremes = front.gains[front.gains[:, kept].argmax(axis=0)][:, kept] / best
    coincide = len(kept) == 1 or np.linalg.cond(extremes) > COINCIDE
    normal = np.ones(len(kept)) if coincide else np.linalg.solve(extremes, np.ones(len(kept)))
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "weighted": lambda shares: shares @ scaled.importances,
        "conservative": lambda shares: shares.min(axis=1),
        "balanced": lambda shares: -np.square(1 - shares).sum(axis=1),
        "knee": lambda shares: np.sign(normal.sum() - 1 + 1e-12) * shares @ normal,
    }
    chosen = measures["balanced" if strategy == "knee" and coincide else strategy]
    return lambda gains: chosen(gains[:, kept] / best)


def _exact(problem: Problem, count: int, seed: int) -> np.ndarray:
    """Exact optima of linear gains: for each strategy, each domain, and random importances."""
    scaled = Scaled(problem)
    found = [choose(problem, strategy).beta for strategy in STRATEGIES]
    found += list(scaled.own_best[scaled.kept])
    importances = np.random.default_rng(seed).dirichlet(np.ones(max(1, len(scaled.kept))), max(0, count - len(found)))
    found += [solve(scaled.problem, -importance @ scaled.rate) for importance in importances if len(scaled.kept)]
    return np.stack(found)


def _best_of(scaled: Scaled, beta: np.ndarray) -> Front:
    beta = np.unique(beta.round(12), axis=0)
    gains = scaled.gains(beta)
    first = NonDominatedSorting().do(-gains, only_non_dominated_front=True)
    kept = beta[np.sort(first)]
    return Front(kept, scaled.problem.gains(kept))
