"""Whether quality tells planted rows from clean ones.

The area under the ROC curve is the chance that a clean row has a higher quality than a planted one, ties counted half.
Its variance is DeLong's (Biometrics 44, 1988), its quantile Student's with the degrees of freedom of Brunner and Munzel
(Biometrical Journal 42, 2000), and the interval is that of the logarithm of its odds, so it ends between 0 and 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from winnow.report.statistics import LEVEL
from winnow.selection.select_moe import require_finite

CLEAN = "clean"
FEWEST = 2
Words = tuple[str, str]
BY_QUALITY = ("have a lower quality than", "have a higher quality than")
BY_RANK = ("are ranked after", "are ranked before")


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve and its 95 % interval."""

    value: float
    low: float
    high: float


def separation(quality: pl.DataFrame, truth: pl.DataFrame, words: Words = BY_QUALITY) -> pl.DataFrame:
    """Compare the rows of each planted kind with the clean ones: kind, rows, clean_rows, auc, low, high, verdict.

    ``quality`` has example_id and quality, ``truth`` example_id and kind. Rows without a quality are left out.
    ``words`` are those of the verdict where planted rows have less of it, and where they have more.
    """
    require_finite(quality)
    known = truth.join(quality, on="example_id", how="left").with_columns(pl.col("quality").cast(pl.Float64))
    values = {str(kind): part["quality"].drop_nulls().to_numpy() for (kind,), part in known.group_by("kind")}
    clean = values.pop(CLEAN, np.empty(0))
    rows = [_compare(kind, values[kind], clean, words) for kind in sorted(values)]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


_SCHEMA = {
    "kind": pl.String,
    "rows": pl.Int64,
    "clean_rows": pl.Int64,
    "auc": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "verdict": pl.String,
}


def _compare(kind: str, planted: np.ndarray, clean: np.ndarray, words: Words) -> tuple[object, ...]:
    counts = (kind, len(planted), len(clean))
    if min(len(planted), len(clean)) < FEWEST:
        said = f"cannot be told: {len(planted)} rows {kind} and {len(clean)} clean have a quality, {FEWEST} are needed"
        return (*counts, None, None, None, said)
    found = area(clean, planted)
    return (*counts, found.value, found.low, found.high, _verdict(kind, found, words))


def _verdict(kind: str, found: Area, words: Words) -> str:
    interval = f"AUC {found.value:.3f}, {found.low:.3f} to {found.high:.3f}"
    if found.low > 0.5:
        return f"separates: rows {kind} {words[0]} clean ones ({interval})"
    if found.high < 0.5:
        return f"worse than chance: rows {kind} {words[1]} clean ones ({interval})"
    return f"not distinguishable from chance: rows {kind} against clean ones ({interval})"


def area(higher: np.ndarray, lower: np.ndarray) -> Area:
    """The chance that a value of the first is above one of the second, from two or more of each."""
    return mean_area([(higher, lower)])


def mean_area(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Area:
    """The mean chance over several rankings of the same rows, as by each seed; other rows would give another mean."""
    above = np.mean([_placements(higher, lower) for higher, lower in pairs], axis=0)
    below = np.mean([_placements(lower, higher) for higher, lower in pairs], axis=0)
    value = float(above.mean())
    parts = np.array([above.var(ddof=1) / len(above), below.var(ddof=1) / len(below)])
    if value in (0.0, 1.0) or not parts.any():
        return _without_variance(value, min(len(above), len(below)))
    degrees = parts.sum() ** 2 / (parts**2 / (np.array([len(above), len(below)]) - 1)).sum()
    return _by_odds(value, float(parts.sum() ** 0.5), float(degrees))


def _placements(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of the others that lies below each value, ties counted half."""
    ordered = np.sort(others)
    found = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(found / (2 * len(others)))


def _by_odds(value: float, error: float, degrees: float) -> Area:
    from scipy import special

    middle = special.logit(value)
    reach = special.stdtrit(degrees, (1 + LEVEL) / 2) * error / (value * (1 - value))
    return Area(value, float(special.expit(middle - reach)), float(special.expit(middle + reach)))


def _without_variance(value: float, rows: int) -> Area:
    """Where no pair of values, or every one, is out of order: as far as a share of all rows may be off."""
    reach = 1 - ((1 - LEVEL) / 2) ** (1 / rows)
    return Area(value, max(0.0, value - reach), min(1.0, value + reach))
