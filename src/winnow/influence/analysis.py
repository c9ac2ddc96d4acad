"""What an influence matrix says: rankings, means of subsets, own against other clusters, components, asymmetry.

Errors come from those of the cells. Cells of one domain share its validation rows, so the error of their mean is the
mean of their errors, as if they were wrong together: an upper bound. Domains have validation rows of their own, so
their errors add in squares; that they share the clusters' examples is not counted. The two sides of a difference or
a ratio count as independent. A cell of a single row has no error (NaN): it is left out of the mean of errors, and what
consists of such cells alone has no error either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl

from winnow.influence.matrix import AVERAGE, as_matrix
from winnow.influence.values import Values

DRAWS = 500
SEED = 0
Result = TypeVar("Result")


class LeftOut(Exception):
    """What a matrix of this shape does not have, and why."""


@dataclass(frozen=True)
class Matrix(Values):
    """Domains x clusters, the row of all validation rows, and of each cluster its rows and its subset of origin."""

    average: np.ndarray
    average_errors: np.ndarray
    sizes: np.ndarray
    origins: list[str]


@dataclass(frozen=True)
class OwnAndOther:
    """Influence of a domain's own clusters and of all others; means weigh clusters by rows and domains equally."""

    own: np.ndarray
    means: Values
    mean: np.ndarray
    error: np.ndarray

    @property
    def ratio(self) -> tuple[float, float]:
        """Own over other, and its error by the delta method."""
        own, other = self.mean
        if not other:
            return float("nan"), float("nan")
        return own / other, float(np.hypot(self.error[0] / other, own * self.error[1] / other**2))


@dataclass(frozen=True)
class AverageAndMean:
    """The average row, the plain mean of the domains' rows, and the domains' shares in the average."""

    mean: np.ndarray
    mean_errors: np.ndarray
    shares: np.ndarray | None
    misfit: float


@dataclass(frozen=True)
class Components:
    """Directions of domains in which clusters differ: loadings [domains, k], scores [clusters, k], shares [k]."""

    shares: np.ndarray
    share_errors: np.ndarray
    loadings: np.ndarray
    loading_errors: np.ndarray
    scores: np.ndarray
    score_errors: np.ndarray


@dataclass(frozen=True)
class Asymmetry:
    """`||M - M'|| / ||M + M'||` (Frobenius), its error, what errors alone would give, and each pair's difference."""

    ratio: float
    error: float
    by_chance: float
    differences: Values
    of: str


def arrange(cells: pl.DataFrame, groups: pl.DataFrame) -> Matrix:
    """Take cells (domain, cluster, rows, influence, error) and groups (example_id, cluster)."""
    domains, clusters, values = as_matrix(cells)
    _, _, errors = as_matrix(cells, "error")
    order = pl.DataFrame({"cluster": clusters})
    average = order.join(cells.filter(pl.col("domain") == AVERAGE), on="cluster", how="left", maintain_order="left")
    rows = order.join(cells.unique("cluster"), on="cluster", how="left", maintain_order="left")["rows"]
    found = origins(groups)
    return Matrix(
        domains,
        clusters,
        values.astype(float),
        errors.astype(float),
        average["influence"].cast(pl.Float64).to_numpy(),
        average["error"].cast(pl.Float64).to_numpy(),
        rows.cast(pl.Float64).to_numpy(),
        [found.get(name, "") for name in clusters],
    )


def origins(groups: pl.DataFrame) -> dict[str, str]:
    """The subset (the first folder of an id) of most examples of each cluster; of equals the first by name."""
    counts = groups.group_by("cluster", pl.col("example_id").str.split("/").list.first().alias("subset")).len()
    return dict(
        counts.sort(["len", "subset"], descending=[True, False])
        .unique("cluster", keep="first", maintain_order=True)
        .select("cluster", "subset")
        .iter_rows()
    )


def own_subset(domain: str, subsets: set[str]) -> str:
    """The subset a domain stands for: of its name, or of the folder its name begins with; else none."""
    folder = domain.split("/")[0]
    return domain if domain in subsets else folder if folder in subsets else ""


def means_by_origin(found: Matrix) -> Values:
    """Domains x subsets of origin: means over clusters, weighed by their rows."""
    subsets = sorted({name for name in found.origins if name})
    if not subsets:
        raise LeftOut("no example tells its subset")
    weights = np.array(
        [[found.sizes[n] * (name == subset) for subset in subsets] for n, name in enumerate(found.origins)]
    )
    return Values(found.rows, subsets, *weighted(found.values, found.errors, weights))


def own_and_other(found: Matrix) -> OwnAndOther:
    """Clusters that come from a domain's own subset against all others, where a domain has both."""
    subsets = set(found.origins) - {""}
    own = np.array([[name and name == own_subset(domain, subsets) for name in found.origins] for domain in found.rows])
    both = [n for n, row in enumerate(own) if row.any() and not row.all()]
    if not both:
        raise LeftOut("no domain has clusters of its own subset and others")
    pairs = []
    for n in both:
        weights = np.stack([own[n], ~own[n]], axis=1) * found.sizes[:, None]
        pairs.append(weighted(found.values[[n]], found.errors[[n]], weights))
    values, errors = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    mask = np.where(np.isin(np.arange(len(own)), both)[:, None], np.where(own, 1.0, 0.0), np.nan)
    names = [found.rows[n] for n in both]
    error = np.sqrt((errors**2).sum(axis=0)) / len(both)
    return OwnAndOther(mask, Values(names, ["own", "other"], values, errors), values.mean(axis=0), error)


def totals(found: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Of each cluster: its influence summed over the domains, and the error."""
    return found.values.sum(axis=0), np.sqrt((found.errors**2).sum(axis=0))


def average_and_mean(found: Matrix) -> AverageAndMean:
    """The average weighs domains by their validation rows: their shares are what fits it, where that is unique."""
    total, error = totals(found)
    number = len(found.rows)
    shares, misfit = None, float("nan")
    if np.linalg.matrix_rank(found.values) == number:
        shares = np.linalg.lstsq(found.values.T, found.average, rcond=None)[0]
        misfit = float(np.abs(shares @ found.values - found.average).max())
    return AverageAndMean(total / number, error / number, shares, misfit)


def components(found: Matrix) -> Components:
    """Principal components of the clusters, each domain less its mean; errors by drawing each cell anew."""
    if min(found.values.shape) < 2:
        raise LeftOut("components need two domains and two clusters")
    if not np.ptp(found.values, axis=1).any():
        raise LeftOut("all clusters have the same influence")
    shares, loadings, scores = _decompose(found.values)
    drawn = []
    for values in draws(found):
        share, loading, score = _decompose(values)
        sign = np.where((loading * loadings).sum(axis=0) < 0, -1, 1)
        drawn.append((share, loading * sign, score * sign))
    spread = [_spread(np.stack(part), found.errors) for part in zip(*drawn, strict=True)]
    return Components(shares, spread[0], loadings, spread[1], scores, spread[2])


def asymmetry(found: Matrix, means: Values) -> Asymmetry:
    """Of domains and clusters of the same names; else of domains and the subsets of origin they share names with."""
    square: Values = found if set(found.rows) == set(found.columns) else means
    names = sorted(set(square.rows) & set(square.columns))
    if len(names) < 2:
        raise LeftOut("domains share fewer than two names with clusters or their subsets")
    place = np.ix_([square.rows.index(name) for name in names], [square.columns.index(name) for name in names])
    values, errors = square.values[place], square.errors[place]
    whole = np.linalg.norm(values + values.T)
    if not whole:
        raise LeftOut("all influences cancel out")
    spread = [_asymmetry(drawn) for drawn in draws(Values(names, names, values, errors))]
    pairs = np.hypot(errors, errors.T)
    np.fill_diagonal(pairs, 0)
    return Asymmetry(
        _asymmetry(values),
        float(_spread(np.array(spread), errors)),
        float(np.sqrt(np.nansum(pairs**2)) / whole) if np.isfinite(errors).any() else float("nan"),
        Values(names, names, values - values.T, pairs),
        "clusters" if square is found else "subsets of origin",
    )


def correlations(found: Matrix) -> Values:
    """Pearson's correlation of the domains' rows over clusters: which objectives want the same data."""
    if len(found.rows) < 2 or len(found.columns) < 3:
        raise LeftOut("a correlation needs two domains and three clusters")
    values = _correlate(found.values)
    if not np.isfinite(values[np.triu_indices(len(values), 1)]).any():
        raise LeftOut("fewer than two domains tell clusters apart")
    spread = _spread(np.stack([_correlate(drawn) for drawn in draws(found)]), found.errors)
    return Values(found.rows, found.rows, values, spread)


def weighted(values: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the last axis by weights [clusters, means], and their errors; those not known do not count."""
    known = np.isfinite(errors)
    counted = known @ weights
    error = np.divide(
        np.where(known, errors, 0) @ weights, counted, out=np.full(counted.shape, np.nan), where=counted > 0
    )
    return values @ (weights / weights.sum(axis=0)), error


def draws(found: Values) -> list[np.ndarray]:
    """The values as they might have been: normal, each cell by itself; a cell of unknown error stays."""
    random = np.random.default_rng(SEED)
    spread = np.nan_to_num(found.errors)
    return [found.values + spread * random.standard_normal(spread.shape) for _ in range(DRAWS)]


def measured(measure: Callable[..., Result], *inputs: Values) -> Result | str:
    """The result, or why there is none."""
    try:
        return measure(*inputs)
    except LeftOut as reason:
        return str(reason)


def _decompose(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    loadings, sizes, scores = np.linalg.svd(values - values.mean(axis=1, keepdims=True), full_matrices=False)
    # A component and its mirror image are the same: the largest loading is positive.
    most = min(len(values), values.shape[1] - 1)
    loadings, sizes, scores = loadings[:, :most], sizes[:most], scores[:most]
    sign = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(most)])
    return sizes**2 / (sizes**2).sum(), loadings * sign, (scores * (sizes * sign)[:, None]).T


def _asymmetry(values: np.ndarray) -> float:
    return float(np.linalg.norm(values - values.T) / np.linalg.norm(values + values.T))


def _correlate(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(values)


def _spread(drawn: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The standard deviation of draws; unknown where no cell has an error."""
    return drawn.std(axis=0) if np.isfinite(errors).any() else np.full(drawn.shape[1:], np.nan)
