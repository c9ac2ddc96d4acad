"""What is said of an arm: how far it is from its control, how sure that is, and what it would take to be sure.

Each comparison of an arm with a control is one test; of many true nulls some look like findings, so p-values are
Holm's: with probability 95 % no null is called a difference, however many arms there are. Intervals are those of one
comparison. Few seeds may by chance lie close together, and of many arms some do: each arm's seeds count as at least as
far apart as those of the median arm. An arm with several controls has to beat them all: its numbers are those of the
comparison that says least for it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from winnow.report.statistics import LEVEL, Estimate, difference, seed_variance, spread

POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Verdict:
    """An arm against one control; ``seeds_needed`` of each is infinite where rows are too few, whatever the seeds."""

    control: str
    gap: Estimate
    p_holm: float
    comparisons: int
    seeds_needed: float

    @property
    def is_told(self) -> bool:
        """Whether the arm differs from its control."""
        return self.p_holm < 1 - LEVEL

    @property
    def sentence(self) -> str:
        """The plain sentence."""
        size = f"{100 * self.gap.mean:+.1f}"
        if math.isnan(self.gap.p_value):
            return f"cannot be told from one seed whether it differs from {self.control} ({size} points)"
        if self.is_told:
            way = "better" if self.gap.mean > 0 else "worse"
            return f"{way} than {self.control} by {size.lstrip('+-')} ± {100 * self.gap.half_width:.1f} points"
        points = f"{size} ± {100 * self.gap.half_width:.1f} points{self._correction}"
        return f"not distinguishable from {self.control} at this budget ({points}); {self._remedy}"

    @property
    def _correction(self) -> str:
        """Said where one comparison by itself would have been a finding."""
        if self.gap.p_value >= 1 - LEVEL:
            return ""
        return f", p {self.gap.p_value:.3f}, but {self.p_holm:.3f} as one of {self.comparisons} comparisons"

    @property
    def _remedy(self) -> str:
        if math.isinf(self.seeds_needed):
            return "so small a difference would need more held-out rows, whatever the seeds"
        if self.seeds_needed > MOST_SEEDS:
            return f"so small a difference would need more than {MOST_SEEDS:,} seeds of each"
        return f"if that is the difference, about {self.seeds_needed:.0f} seeds of each would tell"


def verdicts(controls: Mapping[str, Sequence[str]], correct: Mapping[str, np.ndarray]) -> dict[str, list[Verdict]]:
    """Of each arm one for each control, from answers [seeds, rows]; what says least for it first."""
    pairs = [(arm, control) for arm, names in controls.items() for control in names]
    usual = usual_variance(correct.values())
    gaps = [difference(correct[arm], correct[control], least=usual) for arm, control in pairs]
    corrected = holm([gap.p_value for gap in gaps])
    tests = sum(not math.isnan(gap.p_value) for gap in gaps)
    found: dict[str, list[Verdict]] = {arm: [] for arm in controls}
    for (arm, control), gap, p_holm in zip(pairs, gaps, corrected, strict=True):
        needed = seeds_needed(correct[arm], correct[control], (1 - LEVEL) / max(tests, 1), usual)
        found[arm].append(Verdict(control, gap, p_holm, tests, needed))
    return {arm: sorted(told, key=_says_least) for arm, told in found.items()}


def usual_variance(correct: Iterable[np.ndarray]) -> float:
    """The variance of one seed of the median arm, of those that have several."""
    known = [seed_variance(seeds) for seeds in correct if len(seeds) > 1]
    return float(np.median(known)) if known else 0.0


def _says_least(told: Verdict) -> tuple[float, float]:
    """Orders by the one-sided p-value of being better, the highest first."""
    half = told.gap.p_value / 2
    doubt = half if told.gap.mean > 0 else 1 - half
    return (-1.0 if math.isnan(doubt) else -doubt, told.gap.mean)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values; what is no number is no test."""
    values = np.array(p_values, float)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in values]


def seeds_needed(first: np.ndarray, second: np.ndarray, level: float, least: float = 0.0) -> float:
    """How many seeds each would need so that the difference, were it what it looks like, is found at ``level``.

    Found in four of five studies. More seeds make the seeds' part of the variance smaller, and not that of the rows.
    """
    from scipy import special

    if min(len(first), len(second)) < 2:
        return float("nan")
    by_row = first.mean(axis=0) - second.mean(axis=0)
    gap, parts = abs(float(by_row.mean())), spread(by_row, [first, second], least)
    if gap <= (special.ndtri(1 - level / 2) + special.ndtri(POWER)) * parts.rows**0.5:
        return math.inf
    seeds = np.arange(min(len(first), len(second)), MOST_SEEDS + 1)
    if not any(parts.one_seed):
        return float(seeds[0])
    # An arm keeps the seeds that it has.
    error, freedom = parts.at([np.maximum(seeds, len(first)), np.maximum(seeds, len(second))])
    enough = gap >= (special.stdtrit(freedom, 1 - level / 2) + special.stdtrit(freedom, POWER)) * error
    return float(seeds[enough.argmax()]) if enough.any() else float(MOST_SEEDS + 1)
