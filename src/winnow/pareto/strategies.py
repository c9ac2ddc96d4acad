"""Ways to choose one mixture of all that are possible; exact where gains are linear."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.optimize import nnls

from winnow.errors import BadSetting
from winnow.pareto.problem import Problem
from winnow.pareto.solver import solve

BEST = "best_"
# The extremes coincide where the matrix of their gains is as good as singular.
COINCIDE = 1e6
MOST_CORNERS = 1000
NEAR_ENOUGH = 1e-12


@dataclass(frozen=True)
class Choice:
    """A mixture, and what had to be said when it was chosen."""

    strategy: str
    beta: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Scaled:
    """A problem whose domains are comparable: each gain is a share of the best its domain has where gains are linear.

    A domain that nothing helps has no such share, and is left out.
    """

    problem: Problem
    importance: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.importance) - set(self.problem.domains)):
            raise BadSetting(
                f"`pareto.importance` names {unknown[0]!r}; the domains are {', '.join(self.problem.domains)}."
            )
        if any(value < 0 for value in self.importance.values()):
            raise BadSetting(f"`pareto.importance` has a negative value: {dict(self.importance)}.")

    @cached_property
    def own_best(self) -> np.ndarray:
        """For each domain the beta that is best for it [domains, clusters]."""
        return np.stack([solve(self.problem, -row) for row in self.problem.rate])

    @cached_property
    def best(self) -> np.ndarray:
        """The gain of each domain at its own best [domains]."""
        return np.einsum("dc,dc->d", self.problem.rate, self.own_best)

    @cached_property
    def kept(self) -> np.ndarray:
        """Domains that can gain at all, as places."""
        largest = np.abs(self.problem.rate).sum(axis=1).max(initial=0.0)
        return np.flatnonzero(self.best > 1e-9 * largest) if largest > 0 else np.empty(0, np.int64)

    @cached_property
    def rate(self) -> np.ndarray:
        """Scaled gain per unit of beta [kept domains, clusters]."""
        return self.problem.rate[self.kept] / self.best[self.kept, None]

    @cached_property
    def importances(self) -> np.ndarray:
        """Of the kept domains, with sum one; all alike where none is given."""
        given = np.array([self.importance.get(self.problem.domains[d], 0.0) for d in self.kept])
        return given / given.sum() if given.sum() > 0 else np.full(len(self.kept), 1 / max(1, len(self.kept)))

    def gains(self, beta: np.ndarray) -> np.ndarray:
        """Scaled gains of the kept domains [..., kept]."""
        return self.problem.gains(beta)[..., self.kept] / self.best[self.kept]


def choose(problem: Problem, strategy: str, importance: Mapping[str, float] | None = None, seed: int = 0) -> Choice:
    """The mixture that ``strategy`` takes, as if gains were linear."""
    scaled = Scaled(problem, importance or {})
    if strategy == "random_beta":
        return Choice(strategy, _random_beta(problem, seed))
    if strategy.startswith(BEST):
        domain = strategy.removeprefix(BEST)
        if domain not in problem.domains:
            raise BadSetting(f"There is no domain {domain!r} to choose for; there are {', '.join(problem.domains)}.")
        return Choice(strategy, scaled.own_best[problem.domains.index(domain)])
    if strategy not in _STRATEGIES:
        known = ", ".join([*_STRATEGIES, f"{BEST}<domain>", "random_beta"])
        raise BadSetting(f"No strategy is called {strategy!r}. Known: {known}.")
    if not len(scaled.kept):
        note = "no domain can gain: the pool is taken as it is"
        return Choice(strategy, problem.onto_budget(np.zeros(len(problem.sizes))), note)
    beta, note = _STRATEGIES[strategy](scaled)
    lost = [name for number, name in enumerate(problem.domains) if number not in scaled.kept]
    left_out = f"left out, since nothing helps them: {', '.join(lost)}" if lost else ""
    return Choice(strategy, problem.onto_budget(beta), "; ".join(filter(None, (note, left_out))))


def _weighted(scaled: Scaled) -> tuple[np.ndarray, str]:
    return solve(scaled.problem, -scaled.importances @ scaled.rate), ""


def _conservative(scaled: Scaled) -> tuple[np.ndarray, str]:
    """The largest t that every scaled gain reaches."""
    rows = [(np.append(rate, -1.0), 0.0, np.inf) for rate in scaled.rate]
    return solve(scaled.problem, np.zeros(len(scaled.problem.sizes)), [-1.0], rows), ""


def _balanced(scaled: Scaled) -> tuple[np.ndarray, str]:
    """The least distance to all scaled gains being one.

    The nearest point of the hull of some corners, found by non-negative least squares, says in which direction the next
    corner is wanted, until no corner lies nearer: exact, where quadratic solvers gave up on such flat problems.
    """
    corners = list(scaled.own_best[scaled.kept])
    for _ in range(MOST_CORNERS):
        away = np.stack(corners) @ scaled.rate.T - 1
        weights, _ = nnls(np.vstack([away.T, np.ones(len(corners))]), np.append(np.zeros(len(scaled.rate)), 1.0))
        weights /= weights.sum()
        wanted = -(weights @ away)
        corner = solve(scaled.problem, -wanted @ scaled.rate)
        nearer = wanted @ (scaled.rate @ corner - 1 + wanted)
        if nearer <= NEAR_ENOUGH:
            break
        corners.append(corner)
    return weights @ np.stack(corners[: len(weights)]), ""


def _knee(scaled: Scaled) -> tuple[np.ndarray, str]:
    """Farthest beyond the plane through every domain's own best."""
    extremes = scaled.own_best[scaled.kept] @ scaled.rate.T
    if len(extremes) == 1 or np.linalg.cond(extremes) > COINCIDE:
        why = "there is one domain" if len(extremes) == 1 else "the domains' own best mixtures coincide"
        return _balanced(scaled)[0], f"balanced in place of knee: {why}"
    normal = np.linalg.solve(extremes, np.ones(len(extremes)))
    # The side on which all domains would have their best at once.
    towards = 1.0 if normal.sum() >= 1 else -1.0
    return solve(scaled.problem, -towards * normal @ scaled.rate), ""


def _closed_form(scaled: Scaled) -> tuple[np.ndarray, str]:
    """In proportion to the centred influence, as far as the bounds go."""
    problem = scaled.problem
    weight = scaled.importances / scaled.best[scaled.kept]
    average = weight @ problem.influence[scaled.kept]
    centred = average - average @ problem.sizes / problem.sizes.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(centred > 0, problem.high / centred, problem.low / centred)
    step = np.min(room[centred != 0], initial=np.inf)
    return max(step, 0.0) * centred if np.isfinite(step) else centred, ""


def _additive(scaled: Scaled) -> tuple[np.ndarray, str]:
    """The mean of what each domain would have by itself."""
    return scaled.own_best[scaled.kept].mean(axis=0), ""


def _random_beta(problem: Problem, seed: int) -> np.ndarray:
    """The control: each cluster to one of its bounds, by chance, then onto the budget."""
    up = np.random.default_rng(seed).random(len(problem.sizes)) < 0.5
    return problem.onto_budget(np.where(up, problem.high, problem.low))


_STRATEGIES: dict[str, Callable[[Scaled], tuple[np.ndarray, str]]] = {
    "weighted": _weighted,
    "conservative": _conservative,
    "balanced": _balanced,
    "knee": _knee,
    "closed_form": _closed_form,
    "additive": _additive,
}
STRATEGIES = tuple(_STRATEGIES)
