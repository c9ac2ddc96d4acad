"""Whether a lower validation loss goes with a higher accuracy, over the settings of a sweep.

Each setting is one point, the mean over its seeds: seeds of one setting are not independent of each other. The
interval of Pearson's correlation is Fisher's, that of Spearman's is Bonett and Wright's (2000,
https://doi.org/10.1007/BF02294183). Whether there is a relation at all is tested by permutation, on the ranks, which
holds for few points too.
"""

import math
from dataclasses import dataclass

import numpy as np

from winnow.report.statistics import LEVEL

FEWEST = 4
PERMUTATIONS = 9999


@dataclass(frozen=True)
class Correlation:
    """A coefficient and its interval; no number where it cannot be told."""

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        return f"{self.value:.2f}" + ("" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]")


@dataclass(frozen=True)
class Relation:
    """Of validation loss with accuracy."""

    settings: int
    pearson: Correlation = Correlation()
    spearman: Correlation = Correlation()
    p_value: float = float("nan")


def relate(losses: np.ndarray, accuracies: np.ndarray, seed: int = 0) -> Relation:
    """Both [settings]. Fewer than four settings, or settings that are all alike, have no correlation."""
    from scipy import stats

    settings = len(losses)
    if settings < FEWEST or np.ptp(losses) == 0 or np.ptp(accuracies) == 0:
        return Relation(settings)
    pearson = _correlation(float(np.corrcoef(losses, accuracies)[0, 1]), settings, 1.0)
    ranks = [stats.rankdata(values) - (settings + 1) / 2 for values in (losses, accuracies)]
    rho = float(np.corrcoef(*ranks)[0, 1])
    spearman = _correlation(rho, settings, 1 + rho**2 / 2)
    tested = stats.permutation_test(
        (ranks[0],),
        lambda shuffled, axis: np.sum(shuffled * ranks[1], axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(seed),
    )
    return Relation(settings, pearson, spearman, float(tested.pvalue))


def tell(relation: Relation) -> str:
    """The plain sentence."""
    if math.isnan(relation.p_value):
        return (
            f"Validation loss and accuracy: {relation.settings} settings with these results cannot tell whether they "
            "are related."
        )
    numbers = f"Pearson {relation.pearson}, Spearman {relation.spearman}, {relation.settings} settings"
    if relation.p_value >= 1 - LEVEL:
        return f"By rank, validation loss and accuracy are not distinguishable from unrelated here ({numbers})."
    if relation.spearman.value < 0:
        return f"Lower validation loss goes with higher accuracy here ({numbers})."
    return f"Lower validation loss goes with LOWER accuracy here: rank by accuracy ({numbers})."


def _correlation(value: float, points: int, variance: float) -> Correlation:
    if abs(value) > 1 - 1e-12:
        # All points in one line: Fisher's interval would be a point, whatever their number.
        return Correlation(value)
    reach = _quantile() * math.sqrt(variance / (points - 3))
    return Correlation(value, math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach))


def _quantile() -> float:
    from scipy import special

    return float(special.ndtri((1 + LEVEL) / 2))
