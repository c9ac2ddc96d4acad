"""The columns of an influence matrix: which group each training example belongs to."""

from pathlib import Path

import polars as pl

from winnow.errors import BadInput

CLUSTERS = ("subset_cluster", "cluster")


def read_groups(path: Path, by: str) -> dict[str, str]:
    """The group of each example in a table: clusters over all or within each subset, subsets, or its column `group`."""
    table = pl.scan_csv(path) if path.suffix == ".csv" else pl.scan_parquet(path)
    names = table.collect_schema().names()
    column = by if by in (*CLUSTERS, "subset") else "group"
    if missing := [name for name in ("example_id", column) if name not in names]:
        raise BadInput(
            f"{path} has no column {missing[0]!r}; it has {', '.join(names)}. A table for `influence.columns` has "
            "example_id and group."
        )
    group = pl.col(column).cast(pl.String)
    if by == "subset_cluster":
        group = pl.concat_str("subset", group, separator="/")
    found = table.select("example_id", group.alias("group")).drop_nulls().filter(pl.col("group") != "").collect()
    if (twice := found.filter(pl.col("example_id").is_duplicated())).height:
        raise BadInput(f"{path} has {twice['example_id'][0]!r} more than once; an example belongs to one group.")
    return dict(found.iter_rows())
