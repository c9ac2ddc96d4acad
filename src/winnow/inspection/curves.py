"""Loss curves: of one row, and of the rows that share its cluster."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from winnow.inspection.results import Results
from winnow.stages import Finished

LOW, HIGH = 0.1, 0.9


@dataclass(frozen=True)
class Curve:
    """Losses of one row at each checkpoint."""

    steps: list[str]
    losses: list[float]


@dataclass(frozen=True)
class Curves:
    """The mean loss of many rows at each checkpoint, and the losses that a tenth of them are below, and above."""

    steps: list[str]
    mean: list[float]
    low: list[float]
    high: list[float]


def curve_of(results: Results, name: str) -> Curve | None:
    """The loss curve of one row."""
    if (losses := results.get("losses")) is None:
        return None
    steps = _steps(losses)
    rows = losses.scan().filter(pl.col("example_id") == name).select(steps).collect()
    return Curve(steps, list(rows.row(0))) if rows.height else None


def losses_of(results: Results, members: pl.DataFrame) -> pl.DataFrame | None:
    """The losses of these rows (example_id): that, and a column for each checkpoint."""
    if (losses := results.get("losses")) is None:
        return None
    table = losses.scan().select("example_id", *_steps(losses))
    return table.join(members.lazy().select("example_id"), on="example_id", how="semi").collect()


def curves_of(losses: pl.DataFrame) -> Curves:
    """Mean and spread of a table of losses."""
    table = losses.drop("example_id")
    low, high = (table.select(pl.all().quantile(part, "linear")).row(0) for part in (LOW, HIGH))
    return Curves(table.columns, list(table.mean().row(0)), list(low), list(high))


def distances(losses: pl.DataFrame) -> pl.DataFrame:
    """How far the curve of each row is from the mean one, nearest first: example_id, value."""
    table = losses.drop("example_id").to_numpy().astype(np.float64)
    apart = np.sqrt(((table - table.mean(axis=0)) ** 2).sum(axis=1))
    return losses.select("example_id", value=pl.Series(apart)).sort("value", "example_id")


def _steps(losses: Finished) -> list[str]:
    return [str(step) for step in losses.summary["checkpoints"]]
