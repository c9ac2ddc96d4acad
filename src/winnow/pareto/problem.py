"""What is chosen (beta: relative change of each cluster's rows), what limits it, and what it is predicted to gain.

The budget stands: sum over clusters of size x beta = 0. Both modes differ in bounds alone: in `relative` a cluster
grows or shrinks by a share of itself; in `share` it may take any part of the mixture up to a cap.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from winnow.errors import BadSetting

# A row that is repeated r times counts as r up to one, and ever less beyond, towards 1 + SATURATION.
SATURATION = 15.0
MOST_REPEATS = 4.0
BISECTIONS = 100


@dataclass(frozen=True)
class Problem:
    """Influence [domains, clusters] and sizes [clusters] in rows; beta lies between ``low`` and ``high``."""

    domains: tuple[str, ...]
    clusters: tuple[str, ...]
    influence: np.ndarray
    sizes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    diminishing: bool = False

    @classmethod
    def relative(
        cls,
        domains: tuple[str, ...],
        clusters: tuple[str, ...],
        influence: np.ndarray,
        sizes: np.ndarray,
        change: float = 0.15,
        diminishing: bool = False,
    ) -> Self:
        """Clusters change by ``change`` of themselves at most, and none below nothing."""
        most = MOST_REPEATS - 1 if diminishing else 1.0
        if not 0 < change <= most:
            raise BadSetting(
                f"`pareto.change` is {change:g}; it has to lie between 0 and {most:g} "
                f"({'a row counts four times at most' if diminishing else 'only diminishing gains go beyond 1'})."
            )
        ones = np.ones(len(sizes))
        return cls(domains, clusters, influence, sizes, -min(change, 1.0) * ones, change * ones, diminishing)

    @classmethod
    def shares(
        cls,
        domains: tuple[str, ...],
        clusters: tuple[str, ...],
        influence: np.ndarray,
        sizes: np.ndarray,
        cap: float,
        rows: float | None = None,
        repeats: float = MOST_REPEATS,
        diminishing: bool = False,
    ) -> Self:
        """Clusters take up to ``cap`` of a mixture of ``rows`` rows (None: as many as there are), no row too often."""
        whole = float(sizes.sum())
        most = np.minimum(cap * whole / sizes, repeats * whole / (whole if rows is None else rows))
        if (most * sizes).sum() < whole * (1 - 1e-9):
            raise BadSetting(
                f"`pareto.cap` is {cap:g}: {len(sizes)} clusters with at most that share, and no row more than "
                f"{repeats:g} times, do not fill a mixture. Raise it above {1 / len(sizes):.3g}, or raise "
                "`pareto.repeats`."
            )
        return cls(domains, clusters, influence, sizes, -np.ones(len(sizes)), most - 1, diminishing)

    @cached_property
    def rate(self) -> np.ndarray:
        """Gain of each domain per unit of beta [domains, clusters], where gains are linear."""
        return self.influence * (self.sizes / self.sizes.sum())

    def gains(self, beta: np.ndarray) -> np.ndarray:
        """Predicted fall of each domain's loss [..., domains] for beta [..., clusters]."""
        return (_counted(1 + beta) - 1 if self.diminishing else beta) @ self.rate.T

    def weights(self, beta: np.ndarray) -> np.ndarray:
        """The share of the mixture that each cluster has [..., clusters]."""
        return (1 + beta) * self.sizes / self.sizes.sum()

    def onto_budget(self, beta: np.ndarray) -> np.ndarray:
        """The nearest beta [..., clusters] within the bounds and on the budget."""
        size = self.sizes / self.sizes.mean()
        reach = (np.abs(beta).max(initial=0.0) + np.abs(self.high).max() + 1) / size.min()
        low = np.full((*beta.shape[:-1], 1), -reach)
        high = -low
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            spent = (np.clip(beta - middle * size, self.low, self.high) * size).sum(axis=-1, keepdims=True)
            low, high = np.where(spent > 0, middle, low), np.where(spent > 0, high, middle)
        return np.clip(beta - (low + high) / 2 * size, self.low, self.high)


def _counted(repeats: np.ndarray) -> np.ndarray:
    beyond = 1 + SATURATION * (1 - np.exp(-(np.maximum(repeats, 1) - 1) / SATURATION))
    return np.where(repeats <= 1, repeats, beyond)
