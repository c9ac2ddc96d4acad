"""The mix that is exported: which rows of the pool, how often, and of which cluster."""

from dataclasses import dataclass

import pandas as pd
import polars as pl

from winnow.errors import BadSetting, StaleOutput

UNGROUPED = "ungrouped"


@dataclass(frozen=True)
class Mix:
    """The rows of one seed of an arm (example_id, multiplicity, cluster), and the rows of the pool by cluster."""

    arm: str
    seed: int
    rows: pl.DataFrame
    pool: dict[str, int]


def read_mix(
    arm: str, training_mix: pd.DataFrame, seed: int | None, train: pl.LazyFrame, groups: pl.DataFrame | None
) -> Mix:
    """The mix of ``seed`` (default: the first), with the cluster of each row.

    ``groups`` has example_id and cluster; without it, the subsets are the clusters. Rows that ``groups`` leaves out are
    a cluster of their own.
    """
    pool = _clustered(train.select("example_id", "subset").collect(), groups)
    chosen = _of_seed(arm, training_mix, seed)
    rows = chosen.join(pool, on="example_id", how="left").sort("example_id")
    if (missing := rows.filter(pl.col("cluster").is_null())).height:
        raise StaleOutput(
            f"The mix of {arm!r} has {missing.height} rows that the data no longer have, the first is "
            f"{missing['example_id'][0]!r}: the data changed after it was made. Make it again with "
            f"`kedro run --pipeline {arm}`."
        )
    counts = pool.group_by("cluster").len().sort("cluster")
    return Mix(arm, int(chosen["seed"][0]), rows.drop("seed"), dict(counts.iter_rows()))


def _of_seed(arm: str, training_mix: pd.DataFrame, seed: int | None) -> pl.DataFrame:
    seeds = sorted(int(found) for found in training_mix["seed"].unique())
    if seed is not None and seed not in seeds:
        known = ", ".join(map(str, seeds))
        raise BadSetting(f"--seed is {seed}, but the mix of {arm!r} has the seeds {known}. Choose one of them.")
    chosen = training_mix[training_mix["seed"] == (seeds[0] if seed is None else seed)]
    return pl.from_pandas(chosen.reset_index(drop=True)).filter(pl.col("multiplicity") > 0)


def _clustered(pool: pl.DataFrame, groups: pl.DataFrame | None) -> pl.DataFrame:
    if groups is None:
        return pool.select("example_id", cluster="subset")
    found = pool.join(groups, on="example_id", how="left")
    return found.select("example_id", pl.col("cluster").fill_null(UNGROUPED))
