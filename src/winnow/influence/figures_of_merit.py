"""The analysis of an influence matrix as one table of numbers, and as metrics of the tracker."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from winnow.influence.analysis import (
    DRAWS,
    Asymmetry,
    AverageAndMean,
    Components,
    Matrix,
    OwnAndOther,
    arrange,
    asymmetry,
    average_and_mean,
    components,
    correlations,
    means_by_origin,
    measured,
    own_and_other,
    totals,
)
from winnow.influence.values import Values

MOST_COMPONENTS = 5
DRAWN = f"{DRAWS} draws of the matrix, each cell of known error by itself"
_NAN = float("nan")


class Merit(NamedTuple):
    """One number: what is measured, of what, its value and standard error, and how to take it."""

    measure: str
    name: str
    value: float
    error: float = _NAN
    note: str = ""


@dataclass(frozen=True)
class Analysis:
    """All parts; a text says why a matrix of this shape has none."""

    matrix: Matrix
    average: AverageAndMean
    means: Values | str
    origins: OwnAndOther | str
    components: Components | str
    asymmetry: Asymmetry | str
    correlations: Values | str


def analyse(cells: pl.DataFrame, groups: pl.DataFrame) -> Analysis:
    """Everything, from cells (domain, cluster, rows, influence, error) and groups (example_id, cluster)."""
    matrix = arrange(cells, groups)
    means = measured(means_by_origin, matrix)
    return Analysis(
        matrix,
        average_and_mean(matrix),
        means,
        measured(own_and_other, matrix),
        measured(components, matrix),
        means if isinstance(means, str) else measured(asymmetry, matrix, means),
        measured(correlations, matrix),
    )


def analysis_table(found: Analysis) -> pl.DataFrame:
    """One row per number: measure, name, value, error, note."""
    return pl.DataFrame(list(_merits(found)), schema=list(Merit._fields), orient="row", infer_schema_length=None)


def analysis_metrics(found: Analysis) -> dict[str, float]:
    """The few numbers by which matrices are compared."""
    numbers = {"average": float(np.mean(found.matrix.average))}
    if isinstance(found.origins, OwnAndOther):
        numbers["intra"], numbers["inter"] = map(float, found.origins.mean)
        numbers["intra_inter_ratio"], numbers["intra_inter_ratio_error"] = found.origins.ratio
    if isinstance(found.components, Components):
        numbers["explained_by_first"] = float(found.components.shares[0])
        numbers["explained_by_first_error"] = float(found.components.share_errors[0])
    if isinstance(found.asymmetry, Asymmetry):
        numbers["asymmetry"], numbers["asymmetry_error"] = found.asymmetry.ratio, found.asymmetry.error
        numbers["asymmetry_by_chance"] = found.asymmetry.by_chance
    if isinstance(found.correlations, Values):
        numbers["correlation_of_domains"] = float(np.nanmean(_pairs(found.correlations.values)))
    numbers["average_mean_correlation"] = _correlation(found.matrix.average, found.average.mean)
    numbers["average_mean_largest_difference"] = float(np.abs(found.matrix.average - found.average.mean).max())
    numbers["significant_cells"] = significant(found.matrix)
    return {f"influence/{name}": float(value) for name, value in numbers.items() if math.isfinite(value)}


def significant(matrix: Matrix) -> float:
    """The share of cells farther than two errors from zero."""
    return float((np.abs(matrix.values) > 2 * matrix.errors).mean())


def _merits(found: Analysis) -> Iterator[Merit]:
    matrix = found.matrix
    yield Merit("cells beyond two errors from zero", "share", significant(matrix), note="a cell without error is not")
    yield from _ranking("average influence", matrix, matrix.average, matrix.average_errors)
    yield from _ranking("total influence", matrix, *totals(matrix), note="; sum over domains, errors add in squares")
    yield from _means(found.means)
    yield from _origins(found.origins)
    yield from _average(found)
    yield from _components(found)
    yield from _asymmetry(found.asymmetry)
    yield from _correlations(found.correlations)


def _ranking(measure: str, matrix: Matrix, values: np.ndarray, errors: np.ndarray, note: str = "") -> Iterator[Merit]:
    for rank, place in enumerate(np.argsort(-values, kind="stable"), 1):
        told = f"rank {rank}; {matrix.sizes[place]:.0f} rows, most from {matrix.origins[place] or 'no known subset'}"
        yield Merit(measure, matrix.columns[place], values[place], errors[place], told + note)


def _means(means: Values | str) -> Iterator[Merit]:
    measure = "mean influence of a subset's clusters"
    if isinstance(means, str):
        yield _left_out(measure, means)
        return
    note = "weighed by rows; error: the mean of the cells' errors, which share the domain's validation rows"
    for row, column in np.ndindex(means.values.shape):
        name = f"{means.columns[column]} on {means.rows[row]}"
        yield Merit(measure, name, float(means.values[row, column]), float(means.errors[row, column]), note)


def _origins(found: OwnAndOther | str) -> Iterator[Merit]:
    measure = "intra and inter"
    if isinstance(found, str):
        yield _left_out(measure, found)
        return
    for row, name in enumerate(found.means.rows):
        for column, side in enumerate(("intra", "inter")):
            yield Merit(f"{side} mean", name, found.means.values[row, column], found.means.errors[row, column])
    note = "clusters weighed by rows, domains equally"
    for side, value, error in zip(("intra", "inter"), found.mean, found.error, strict=True):
        yield Merit(f"{side} mean", "all domains", value, error, note)
    (own, other), (own_error, other_error) = found.mean, found.error
    ratio, ratio_error = found.ratio
    yield Merit("intra less inter", "all domains", own - other, math.hypot(own_error, other_error), note)
    unsure = "" if other > 2 * other_error else "; inter is not clearly above zero: read the difference"
    told = "error by the delta method, intra and inter as independent" + unsure
    yield Merit("intra / inter", "all domains", ratio, ratio_error, told)


def _average(found: Analysis) -> Iterator[Merit]:
    average, matrix = found.average, found.matrix
    note = "average row less the plain mean of the domains' rows; errors as if independent"
    for place, name in enumerate(matrix.columns):
        error = math.hypot(matrix.average_errors[place], average.mean_errors[place])
        yield Merit("average less mean", name, matrix.average[place] - average.mean[place], error, note)
    correlation = _correlation(matrix.average, average.mean)
    yield Merit("average against mean", "Pearson's correlation", correlation, note="over clusters")
    difference = float(np.abs(matrix.average - average.mean).max())
    yield Merit("average against mean", "largest difference", difference)
    measure = "share of a domain in the average"
    if average.shares is None:
        yield _left_out(measure, "the domains' rows do not tell them apart")
        return
    for name, share in zip(matrix.rows, average.shares, strict=True):
        yield Merit(measure, name, share, note="weights with which the domains' rows make the average row")
    yield Merit("average against weighted mean", "largest difference", average.misfit, note="zero by construction")


def _components(found: Analysis) -> Iterator[Merit]:
    parts = found.components
    if isinstance(parts, str):
        yield _left_out("principal components", parts)
        return
    note = f"domains centred over clusters; error: {DRAWN}"
    for number in range(min(len(parts.shares), MOST_COMPONENTS)):
        yield Merit(
            "explained share", f"component {number + 1}", parts.shares[number], parts.share_errors[number], note
        )
    for number in range(min(len(parts.shares), 2)):
        for place, name in enumerate(found.matrix.rows):
            value, error = parts.loadings[place, number], parts.loading_errors[place, number]
            yield Merit(f"loading on component {number + 1}", name, value, error, "largest made positive")
        for place, name in enumerate(found.matrix.columns):
            yield Merit(
                f"score on component {number + 1}", name, parts.scores[place, number], parts.score_errors[place, number]
            )


def _asymmetry(found: Asymmetry | str) -> Iterator[Merit]:
    if isinstance(found, str):
        yield _left_out("asymmetry", found)
        return
    note = f"||M - M'|| / ||M + M'|| of domains and {found.of}; error: {DRAWN}"
    yield Merit("asymmetry", "all pairs", found.ratio, found.error, note)
    yield Merit("asymmetry", "by chance", found.by_chance, note="of a symmetric matrix with these errors, about")
    pairs = found.differences
    for row, column in zip(*np.triu_indices(len(pairs.rows), 1), strict=True):
        name = f"{pairs.columns[column]} on {pairs.rows[row]} less {pairs.columns[row]} on {pairs.rows[column]}"
        yield Merit("asymmetry of a pair", name, pairs.values[row, column], pairs.errors[row, column])


def _correlations(found: Values | str) -> Iterator[Merit]:
    measure = "correlation of domains"
    if isinstance(found, str):
        yield _left_out(measure, found)
        return
    for row, column in zip(*np.triu_indices(len(found.rows), 1), strict=True):
        name = f"{found.rows[row]} ~ {found.rows[column]}"
        yield Merit(measure, name, found.values[row, column], found.errors[row, column], "Pearson, over clusters")


def _left_out(measure: str, reason: str) -> Merit:
    return Merit(measure, "left out", _NAN, _NAN, reason)


def _pairs(values: np.ndarray) -> np.ndarray:
    return values[np.triu_indices(len(values), 1)]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """NaN where one of them does not vary."""
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else _NAN
