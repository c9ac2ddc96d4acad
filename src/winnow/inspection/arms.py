"""Which arms keep a row, and how much of a cluster each keeps beside what chance would."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Keeps:
    """An arm that was run: in how many of its seeds' mixes the row is, and how often at most."""

    arm: str
    keeps: int
    seeds: int
    times: int


@dataclass(frozen=True)
class Share:
    """How many different rows of a cluster an arm keeps, in the mean over its seeds.

    ``expected`` and ``deviation`` are those of as many rows drawn at random (hypergeometric, for one seed); ``share``
    is the cluster's part of the mix, repeated rows included.
    """

    arm: str
    seeds: int
    kept: float
    expected: float
    deviation: float
    share: float


def arms_keeping(mixes: Mapping[str, pl.LazyFrame], name: str) -> list[Keeps]:
    """Of every arm with a mix, whether it takes this row."""
    return [_keeps(arm, mix, name) for arm, mix in sorted(mixes.items())]


def _keeps(arm: str, mix: pl.LazyFrame, name: str) -> Keeps:
    own = pl.col("multiplicity").filter(pl.col("example_id") == name, pl.col("multiplicity") > 0)
    keeps, seeds, times = mix.select(own.len(), pl.col("seed").n_unique(), own.max().alias("times")).collect().row(0)
    return Keeps(arm, keeps, seeds, times or 0)


def shares_of(mixes: Mapping[str, pl.LazyFrame], members: pl.DataFrame, pool: int) -> list[Share]:
    """What each arm keeps of the rows ``members`` (example_id) of a pool of that size."""
    return [_share(arm, mix, members, pool) for arm, mix in sorted(mixes.items())]


def _share(arm: str, mix: pl.LazyFrame, members: pl.DataFrame, pool: int) -> Share:
    inside = pl.col("example_id").is_in(members["example_id"].implode())
    taken = pl.col("multiplicity")
    kept, drawn, within, whole, seeds = (
        mix.filter(taken > 0)
        .select(
            inside.sum().alias("kept"),
            pl.len().alias("drawn"),
            taken.filter(inside).sum().alias("within"),
            taken.sum().alias("whole"),
            pl.col("seed").n_unique().alias("seeds"),
        )
        .collect()
        .row(0)
    )
    if not seeds:
        return Share(arm, 0, 0.0, 0.0, 0.0, 0.0)
    part, each = members.height / pool, drawn / seeds
    variance = each * part * (1 - part) * (pool - each) / max(pool - 1, 1)
    return Share(arm, seeds, kept / seeds, each * part, max(variance, 0.0) ** 0.5, within / whole)
