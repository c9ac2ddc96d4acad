"""How sure an accuracy is, and whether two arms differ.

Two things are random: the seed of a training, and which rows were held out. Both variances enter: that of the seeds'
means (Welch), and that of the rows (for two arms on the same rows: of the rows' differences). A row's mean over a few
seeds is noisy itself, and that noise is in the seeds' means already, so it is taken off the rows' variance: counted
twice, it makes a test at 5 % reject one true null in a hundred only, and miss what is there. Rows alone, or a
bootstrap over five seeds, would find differences where there are none. Degrees of freedom are Satterthwaite's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean, the half-width of its confidence interval, and (of a difference) the p-value of no difference."""

    mean: float
    half_width: float
    p_value: float = float("nan")


def estimate(correct: np.ndarray) -> Estimate:
    """Mean of ``correct`` [seeds, rows] and its interval."""
    return _student(correct.mean(axis=0), [correct])


def difference(first: np.ndarray, second: np.ndarray, *, least: float = 0.0) -> Estimate:
    """Mean of ``first`` minus mean of ``second``, both [seeds, the same rows]; one seed cannot tell how sure it is.

    The variance of a seed is taken for ``least`` at least.
    """
    by_row = first.mean(axis=0) - second.mean(axis=0)
    if min(len(first), len(second)) < 2:
        return Estimate(float(by_row.mean()), float("nan"))
    return _student(by_row, [first, second], least)


def difference_from_fixed(first: np.ndarray, fixed: np.ndarray) -> Estimate:
    """Mean of ``first`` [seeds, rows] minus that of ``fixed`` [rows], the answers of a model that no seed has made."""
    by_row = first.mean(axis=0) - fixed
    if len(first) < 2:
        return Estimate(float(by_row.mean()), float("nan"))
    return _student(by_row, [first])


@dataclass(frozen=True)
class Spread:
    """What makes a mean of answers uncertain."""

    one_seed: tuple[float, ...]  # the variance of one seed of each arm
    seeds: tuple[int, ...]
    rows: float  # the variance of the mean over rows, whatever the seeds
    row_count: int

    def at(self, seeds: Sequence[Any]) -> tuple[Any, Any]:
        """Standard error of the mean with so many seeds of each arm, and Satterthwaite's degrees of freedom."""
        variances = [(one / count, count - 1) for one, count in zip(self.one_seed, seeds, strict=True) if one > 0]
        if self.rows > 0:
            variances.append((self.rows, self.row_count - 1))
        if not variances:
            return 0.0, math.inf
        total = sum(variance for variance, _ in variances)
        return total**0.5, total**2 / sum(variance**2 / degrees for variance, degrees in variances)


def spread(by_row: np.ndarray, parts: Sequence[np.ndarray], least: float = 0.0) -> Spread:
    """Of the mean of ``by_row``, which was made from the seeds of ``parts``; one seed tells nothing of its variance."""
    one_seed = tuple(max(seed_variance(part), least) if len(part) > 1 else 0.0 for part in parts)
    rows = len(by_row)
    noise = sum(_noise(part) for part in parts)
    of_rows = max(0.0, float(by_row.var(ddof=1)) - noise) / rows if rows > 1 else 0.0
    return Spread(one_seed, tuple(len(part) for part in parts), of_rows, rows)


def seed_variance(correct: np.ndarray) -> float:
    """The variance of one seed's mean, of two seeds or more."""
    return float(correct.mean(axis=1).var(ddof=1))


def _student(by_row: np.ndarray, parts: Sequence[np.ndarray], least: float = 0.0) -> Estimate:
    """Interval of the mean of ``by_row``, which was made from the seeds of ``parts``."""
    from scipy import special

    mean, found = float(by_row.mean()), spread(by_row, parts, least)
    error, freedom = found.at(found.seeds)
    if error == 0:
        is_right_or_wrong = all(np.isin(part, (0, 1)).all() for part in parts)
        return _exact(mean, len(by_row)) if is_right_or_wrong else Estimate(mean, 0.0, float(mean == 0))
    half_width = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return Estimate(mean, half_width, float(2 * special.stdtr(freedom, -abs(mean) / error)))


def _noise(correct: np.ndarray) -> float:
    """Variance of a row's mean over seeds that neither seed nor row explain (the residual of a two-way layout)."""
    seeds, rows = correct.shape
    if seeds < 2 or rows < 2:
        return 0.0
    residual = correct - correct.mean(axis=1, keepdims=True) - correct.mean(axis=0) + correct.mean()
    return float((residual**2).sum()) / ((seeds - 1) * (rows - 1)) / seeds


def _exact(mean: float, rows: int) -> Estimate:
    """Where no row and no seed varies: as far as a mean of all 0 or all 1 may be off (Clopper-Pearson)."""
    return Estimate(mean, 1 - ((1 - LEVEL) / 2) ** (1 / rows), 1.0 if mean == 0 else 0.0)
