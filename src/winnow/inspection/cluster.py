"""One cluster: its rows, how their losses fell, what they are good for, and what each arm keeps of them."""

from dataclasses import dataclass, field

import polars as pl

from winnow.errors import BadSetting, MissingResource
from winnow.inspection.arms import Share, shares_of
from winnow.inspection.curves import Curves, curves_of, distances, losses_of
from winnow.inspection.results import Missing, Results
from winnow.inspection.rows import Excerpt, excerpts


@dataclass(frozen=True)
class Part:
    """A subset's rows in a cluster, beside all that the pool has of the subset."""

    subset: str
    rows: int
    pool: int


@dataclass(frozen=True)
class Influence:
    """What training on a cluster does for a domain, with its standard error."""

    domain: str
    influence: float
    error: float | None


@dataclass(frozen=True)
class Cluster:
    """All that is known of a cluster; ``typical`` rows are the nearest to its mean loss curve, ``odd`` the farthest."""

    name: str
    rows: int
    pool: int
    subsets: list[Part]
    curves: Curves | None = None
    typical: list[Excerpt] = field(default_factory=list)
    odd: list[Excerpt] = field(default_factory=list)
    influence: list[Influence] = field(default_factory=list)
    arms: list[Share] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def inspect_cluster(results: Results, name: str, top: int = 5) -> Cluster:
    """Look at a cluster: `math/3` within a subset, `3` over all of them, or a group of the influence matrix."""
    pool = dict(_groups(results).group_by("subset").len().collect().iter_rows())
    rows = sum(pool.values())
    members = members_of(results, name)
    losses = losses_of(results, members)
    apart = distances(losses) if losses is not None and losses.height else None
    return Cluster(
        name,
        rows=members.height,
        pool=rows,
        subsets=_parts(members, pool),
        curves=None if apart is None or losses is None else curves_of(losses),
        typical=[] if apart is None else excerpts(results, apart.head(top)),
        # A cluster with fewer rows than are asked for shows each once.
        odd=[] if apart is None else excerpts(results, apart[top:].tail(top).reverse()),
        influence=_influence(results, name),
        arms=shares_of(results.mixes, members, rows),
        missing=results.lacking("clusters", "losses", "influence_matrix"),
    )


def members_of(results: Results, name: str) -> pl.DataFrame:
    """The rows of a cluster: example_id, subset."""
    groups = _groups(results)
    for column in _groupings(groups):
        members = groups.filter(pl.col(column) == name).select("example_id", "subset").collect()
        if members.height:
            return members
    raise _no_such_cluster(groups, name)


def _groupings(groups: pl.LazyFrame) -> list[str]:
    return groups.collect_schema().names()[2:]


def _groups(results: Results) -> pl.LazyFrame:
    """The names of the groups that each row of the pool is in: example_id, subset, and a column for each grouping."""
    groupings = []
    if clusters := results.get("clusters"):
        within = pl.concat_str("subset", "subset_cluster", separator="/").alias("within a subset")
        whole = pl.col("cluster").cast(pl.String).alias("over all")
        groupings.append(clusters.scan("clusters").select("example_id", "subset", within, whole))
    if matrix := results.get("influence_matrix"):
        groups = matrix.scan("groups").select("example_id", pl.col("cluster").alias("of the influence matrix"))
        if groupings:
            groupings.append(groups)
        else:
            subsets = results.need("train").scan().select("example_id", "subset")
            groupings.append(subsets.join(groups, on="example_id"))
    if not groupings:
        raise MissingResource("No clusters were made yet. Make them with `kedro run --pipelines clusters` first.")
    first, *more = groupings
    for other in more:
        first = first.join(other, on="example_id", how="left")
    return first


def _no_such_cluster(groups: pl.LazyFrame, name: str) -> BadSetting:
    known: dict[str, list[str]] = {}
    for column in _groupings(groups):
        names = groups.select(pl.col(column).drop_nulls().unique()).collect()[column].to_list()
        names = sorted(names, key=lambda own: (own.rpartition("/")[0], len(own), own))
        if names not in known.values():
            known[column] = names
    told = "; ".join(f"{column}: {', '.join(names)}" for column, names in known.items())
    return BadSetting(f"There is no cluster {name!r}. The clusters {told}.")


def _parts(members: pl.DataFrame, pool: dict[str, int]) -> list[Part]:
    rows = members.group_by("subset").len().sort(["len", "subset"], descending=[True, False])
    return [Part(subset, count, pool[subset]) for subset, count in rows.iter_rows()]


def _influence(results: Results, name: str) -> list[Influence]:
    if (matrix := results.get("influence_matrix")) is None:
        return []
    cells = matrix.scan("cells").filter(pl.col("cluster") == name).sort("domain")
    return [Influence(*row) for row in cells.select("domain", "influence", "error").collect().iter_rows()]
