"""Every score that was given to the rows of the pool, and where among them one row stands."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from winnow.influence.ranking import target_scores, weighted_scores
from winnow.inspection.results import Results
from winnow.stages import FinishedParts

# What scores rows for targets: its dataset.
BY = {"less": "scores", "rds": "rds_scores", "bm25": "bm25_scores"}


@dataclass(frozen=True)
class Scored:
    """A number for each row of the pool."""

    ids: pl.Series
    values: np.ndarray

    def finite(self) -> "Scored":
        """Without the rows that have no number."""
        known = np.isfinite(self.values)
        return Scored(self.ids.filter(pl.Series(known)), self.values[known])


@dataclass(frozen=True)
class Standing:
    """The score of one row, and its place: rank 1 has the highest of the ``of`` rows."""

    score: str
    value: float
    rank: int
    of: int

    @property
    def percentile(self) -> float:
        """How many of a hundred rows are not above it."""
        return 100 * (self.of - self.rank + 1) / self.of


def for_targets(results: Results, by: str) -> dict[str, Scored] | None:
    """The pool's scores for each target, and for each of its subtasks where it has several; None: nobody made them."""
    if (handle := results.found.get(BY[by])) is None:
        return None
    if isinstance(handle, FinishedParts):
        tables = {step: part.scan("scores").collect() for step, part in handle.parts.items()}
        table, aggregate = weighted_scores(tables, handle.summary["weights"]), results.aggregate
    else:
        table, aggregate = handle.scan("scores").collect(), "max"
    whole = target_scores(table, aggregate)
    subtasks = [name for name in table.columns if name != "example_id"]
    several = subtasks if len(subtasks) > len(whole) else []
    ids = table["example_id"]
    return {name: Scored(ids, values) for name, values in whole.items()} | {
        name: Scored(ids, table[name].to_numpy()) for name in several
    }


def of_rows(results: Results) -> Iterator[tuple[str, Scored]]:
    """The scores that are for no target: perplexity, difficulty, a selector's quality."""
    if rows := results.get("row_scores"):
        perplexity = pl.col("loss").cast(pl.Float64).exp()
        table = rows.scan("row_scores").select("example_id", "ifd", perplexity=perplexity).collect()
        for name in ("perplexity", "ifd"):
            yield name, Scored(table["example_id"], _numbers(table[name]))
    if quality := results.get("selector_quality"):
        table = quality.scan("quality").select("example_id", "quality").collect()
        yield "select_moe quality", Scored(table["example_id"], _numbers(table["quality"]))


def standings(results: Results, name: str) -> list[Standing]:
    """Where the row of this id stands in each score that it has."""
    scored = [(f"{by} for {target}", rows) for by in BY for target, rows in (for_targets(results, by) or {}).items()]
    found = (_standing(score, rows, name) for score, rows in [*scored, *of_rows(results)])
    return [standing for standing in found if standing]


def _standing(score: str, rows: Scored, name: str) -> Standing | None:
    rows = rows.finite()
    place = rows.ids.index_of(name)
    if place is None:
        return None
    value = float(rows.values[place])
    return Standing(score, value, 1 + int((rows.values > rows.values[place]).sum()), len(rows.values))


def _numbers(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
