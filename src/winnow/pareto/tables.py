"""Mixtures as tables: one row each, with beta and share of every cluster and the predicted gain of every domain."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from winnow.influence.matrix import as_matrix
from winnow.params import ParetoParams
from winnow.pareto.front import Front
from winnow.pareto.problem import Problem
from winnow.pareto.strategies import Choice

BETA, WEIGHT, GAIN = "beta/", "weight/", "gain/"


def make_problem(cells: pl.DataFrame, params: ParetoParams, rows: float) -> Problem:
    """The problem that a matrix and the parameters pose, for mixtures of ``rows`` rows."""
    domains, clusters, influence = as_matrix(cells)
    sizes = cells.group_by("cluster", maintain_order=True).first()["rows"].to_numpy().astype(float)
    matrix = (tuple(domains), tuple(clusters), influence, sizes)
    diminishing = params.gains == "diminishing"
    if params.mode == "relative":
        return Problem.relative(*matrix, params.change, diminishing)
    return Problem.shares(*matrix, params.cap, rows, params.repeats, diminishing)


def choice_table(problem: Problem, choices: Sequence[Choice]) -> pl.DataFrame:
    """The chosen mixtures: strategy, note, and what `mixture_table` has."""
    table = mixture_table(problem, np.stack([choice.beta for choice in choices]))
    names = [choice.strategy for choice in choices], [choice.note for choice in choices]
    return pl.DataFrame({"strategy": names[0], "note": names[1]}).hstack(table)


def front_table(problem: Problem, front: Front) -> pl.DataFrame:
    """The mixtures of the front, best for the first domain first."""
    return mixture_table(problem, front.beta).sort(GAIN + problem.domains[0], descending=True)


def mixture_table(problem: Problem, beta: np.ndarray) -> pl.DataFrame:
    """`beta/<cluster>`, `weight/<cluster>` and `gain/<domain>` of each mixture [n, clusters]."""
    columns = [(BETA, problem.clusters, beta), (WEIGHT, problem.clusters, problem.weights(beta))]
    columns.append((GAIN, problem.domains, problem.gains(beta)))
    return pl.DataFrame(
        {prefix + name: values[:, n] for prefix, names, values in columns for n, name in enumerate(names)}
    )
