"""The influence of clusters on domains, with a standard error for each cell."""

from pathlib import Path

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.influence.nodes import stores_of, tokens_of
from winnow.errors import MissingResource
from winnow.params import InfluenceParams, Machine
from winnow.report.pareto import draw_matrix
from winnow.stages import Finished, FinishedParts, file_checksum, locate, require_build
from winnow.workers.launch import launch_missing

REVISION = 1


def find_matrix(
    train_gradients: FinishedParts,
    validation_gradients: FinishedParts,
    targets: Finished,
    groups: Finished,
    params: InfluenceParams,
    machine: Machine,
) -> Finished:
    """Mean cosines of domains with clusters, from the stores, weighed by checkpoint."""
    weights = train_gradients.summary["weights"]
    stores = stores_of(train_gradients, validation_gradients, params)
    sides = {side: {step: pair[n] for step, pair in stores.items()} for n, side in enumerate(("train", "targets"))}
    table, source = _groups(groups, params.columns)
    inputs = {f"{side}@{step}": part.fingerprint for side, parts in sides.items() for step, part in parts.items()}
    place = locate(
        machine.data_root / "03_primary",
        "influence_matrix",
        REVISION,
        {"columns": params.columns, "weights": weights},
        {**inputs, "targets": targets.fingerprint, "groups": source},
    )
    if (finished := place.finished()) is not None:
        return finished
    require_build([place])
    domains = targets.scan().select("example_id", pl.col("subset").alias("domain")).collect()
    task = {
        **{side: {step: str(part.path) for step, part in parts.items()} for side, parts in sides.items()},
        "weights": weights,
        "groups": str(table),
        "by": params.columns,
        "domains": dict(domains.iter_rows()),
        "data": {"train": tokens_of(train_gradients), "targets": tokens_of(validation_gradients)},
    }
    launch_missing("influence_matrix", task, {"influence_matrix": place}, machine.one_process())
    return Finished.open(place.folder)


def show_matrix(matrix: Finished) -> tuple[pd.DataFrame, Figure]:
    """The cells as a table, and as a heatmap."""
    cells = matrix.scan("cells").collect()
    return cells.to_pandas(), draw_matrix(cells)


def _groups(groups: Finished, columns: str) -> tuple[Path, str]:
    """The table that tells each example's group, and what identifies it."""
    if columns in ("cluster", "subset_cluster"):
        return groups.path / groups.summary["tables"]["clusters"]["file"], groups.fingerprint
    if columns == "subset":
        return groups.path / groups.summary["tables"]["lengths"]["file"], groups.fingerprint
    if not (path := Path(columns)).is_file():
        raise MissingResource(
            f"`influence.columns` is {columns!r}: it is neither subset_cluster, cluster nor subset, nor a file. Give "
            "one of these, or the path of a csv or parquet file with the columns example_id and group."
        )
    return path.absolute(), file_checksum(path)
