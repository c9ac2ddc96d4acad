"""How sure an accuracy is, and whether two arms differ.

Two things are random: the seed of a training, and which rows were held out. Both variances enter: that of the seeds'
means, and that of the rows' (for two arms on the same rows: of the rows' differences). Degrees of freedom are Welch's
and Satterthwaite's. Rows alone, or a bootstrap over five seeds, would find differences where there are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean, the half-width of its confidence interval, and (of a difference) the p-value of no difference."""

    mean: float
    half_width: float
    p_value: float = float("nan")


def estimate(correct: np.ndarray) -> Estimate:
    """Mean of ``correct`` [seeds, rows] and its interval."""
    return _student(float(correct.mean()), [_seed_variance(correct), _row_variance(correct.mean(axis=0))])


def difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Mean of ``first`` minus mean of ``second``, both [seeds, the same rows]."""
    by_row = first.mean(axis=0) - second.mean(axis=0)
    return _student(float(by_row.mean()), [_seed_variance(first), _seed_variance(second), _row_variance(by_row)])


def _seed_variance(correct: np.ndarray) -> tuple[float, int]:
    """Variance of the mean over seeds, and its degrees of freedom; one seed tells nothing of it."""
    seeds = len(correct)
    return (float(correct.mean(axis=1).var(ddof=1)) / seeds, seeds - 1) if seeds > 1 else (0.0, 0)


def _row_variance(by_row: np.ndarray) -> tuple[float, int]:
    rows = len(by_row)
    return (float(by_row.var(ddof=1)) / rows, rows - 1) if rows > 1 else (0.0, 0)


def _student(mean: float, variances: Sequence[tuple[float, int]]) -> Estimate:
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return Estimate(mean, 0.0, 1.0 if mean == 0 else 0.0)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in variances if degrees)
    error = total**0.5
    half_width = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return Estimate(mean, half_width, float(2 * stats.t.sf(abs(mean) / error, freedom)))


def verdict(gap: Estimate, control: str) -> str:
    """The plain sentence."""
    points = f"{abs(100 * gap.mean):.1f} ± {100 * gap.half_width:.1f} points"
    if gap.p_value >= 1 - LEVEL:
        return f"not distinguishable from {control} ({100 * gap.mean:+.1f} ± {100 * gap.half_width:.1f} points)"
    return f"{'better' if gap.mean > 0 else 'worse'} than {control} by {points}"
