"""One target: the rows that its scores put first and last, and how the scores of the pool are spread."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from winnow.errors import BadSetting, MissingResource, NothingToTrainOn
from winnow.inspection.results import MADE_BY, Missing, Results
from winnow.inspection.rows import Excerpt, excerpts
from winnow.inspection.scores import BY, Scored, for_targets

BINS = 40


@dataclass(frozen=True)
class Spread:
    """Scores of the pool: minimum, quartiles, maximum, and the number of rows in each of `BINS` equal steps."""

    rows: int
    quartiles: list[float]
    histogram: list[int]


@dataclass(frozen=True)
class Target:
    """A target by one kind of score."""

    name: str
    by: str
    spread: Spread
    best: list[Excerpt] = field(default_factory=list)
    worst: list[Excerpt] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def inspect_target(results: Results, name: str, by: str = "less", top: int = 10, bottom: int = 10) -> Target:
    """Look at a target, or one of its subtasks, by the scores `less`, `rds` or `bm25`."""
    known = for_targets(results, by)
    if known is None:
        there = [other for other in BY if BY[other] in results.found]
        others = f" There are scores by {', '.join(there)} (`--by`)." if there else ""
        command = f"kedro run --pipelines {MADE_BY[BY[by]]}"
        raise MissingResource(f"There are no scores by {by} yet. Make them with `{command}` first.{others}")
    if name not in known:
        raise BadSetting(f"There is no target {name!r} among the scores by {by}. Known: {', '.join(sorted(known))}.")
    rows = known[name].finite()
    if not len(rows.ids):
        raise NothingToTrainOn(f"No row has a finite score by {by} for the target {name!r}.")
    order = pl.DataFrame({"example_id": rows.ids, "value": rows.values})
    order = order.sort(["value", "example_id"], descending=[True, False])
    return Target(
        name,
        by,
        _spread(rows),
        best=excerpts(results, order.head(top)),
        # The last first; a pool with fewer rows than are asked for shows each once.
        worst=excerpts(results, order[top:].tail(bottom).reverse()),
        missing=results.lacking("clusters", BY[by]),
    )


def _spread(rows: Scored) -> Spread:
    values = rows.values.astype(np.float64)
    counts, _ = np.histogram(values, BINS)
    return Spread(len(values), np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist(), counts.tolist())
