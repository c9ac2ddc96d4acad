"""What a few seeds tell: the mean over them, and its interval where they differ."""

from collections.abc import Sequence

import numpy as np

from winnow.report.statistics import LEVEL, Estimate


def over_seeds(values: Sequence[float] | np.ndarray) -> Estimate:
    """Mean over seeds and the half-width of Student's interval; NaN where no seed differs."""
    from scipy import special

    known = np.asarray(values, float)
    if len(known) < 2 or not np.ptp(known):
        return Estimate(float(known.mean()), float("nan"))
    reach = special.stdtrit(len(known) - 1, (1 + LEVEL) / 2) * known.std(ddof=1) / len(known) ** 0.5
    return Estimate(float(known.mean()), float(reach))
