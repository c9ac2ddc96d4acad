"""Linear programs over beta, by HiGHS."""

from collections.abc import Sequence

import highspy
import numpy as np

from winnow.errors import WinnowError
from winnow.pareto.problem import Problem


def solve(
    problem: Problem,
    cost: np.ndarray,
    extras: Sequence[float] = (),
    rows: Sequence[tuple[np.ndarray, float, float]] = (),
) -> np.ndarray:
    """The beta [clusters] of least cost on the budget.

    ``extras`` are the costs of further variables without bounds; ``rows`` are further conditions: coefficients of beta
    and then of the extras, least and most.
    """
    clusters, count = len(cost), len(cost) + len(extras)
    budget = np.concatenate([problem.sizes / problem.sizes.mean(), np.zeros(len(extras))])
    conditions = [(budget, 0.0, 0.0), *rows]
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = count, len(conditions)
    lp.col_cost_ = np.concatenate([cost, extras])
    free = np.full(len(extras), highspy.kHighsInf)
    lp.col_lower_, lp.col_upper_ = np.concatenate([problem.low, -free]), np.concatenate([problem.high, free])
    lp.row_lower_, lp.row_upper_ = (np.array([row[side] for row in conditions], float) for side in (1, 2))
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.arange(len(conditions) + 1, dtype=np.int32) * count
    lp.a_matrix_.index_ = np.tile(np.arange(count, dtype=np.int32), len(conditions))
    lp.a_matrix_.value_ = np.concatenate([row[0] for row in conditions])
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(lp)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise WinnowError(
            f"HiGHS found no mixture of {clusters} clusters: {solver.modelStatusToString(solver.getModelStatus())}. "
            "Look for cells of the influence matrix that are not finite, and widen `pareto.change` or `pareto.cap`."
        )
    return problem.onto_budget(np.array(solver.getSolution().col_value)[:clusters])
