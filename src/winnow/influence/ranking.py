"""From the score table to one order of the pool: another aggregation or weighting is a re-query, in seconds."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from winnow.errors import BadSetting

Aggregate = Literal["max", "mean", "round_robin"]


def weighted_scores(tables: Mapping[str, pl.DataFrame], weights: Mapping[str, float]) -> pl.DataFrame:
    """Sum the checkpoints' tables (example_id and a column per subtask); rows that lack one of them are left out."""
    ids = None
    for table in tables.values():
        ids = table.select("example_id") if ids is None else ids.join(table.select("example_id"), on="example_id")
    assert ids is not None
    ids = ids.sort("example_id")
    total: dict[str, np.ndarray] = {}
    for step, table in tables.items():
        table = ids.join(table, on="example_id", how="left", maintain_order="left")
        for name in (column for column in table.columns if column != "example_id"):
            part = table[name].to_numpy().astype(np.float64) * weights[step]
            total[name] = total[name] + part if name in total else part
    return ids.with_columns(pl.Series(name, values) for name, values in total.items())


def target_scores(scores: pl.DataFrame, aggregate: Aggregate) -> dict[str, np.ndarray]:
    """One score per example and target: the best or the mean of its subtasks, or minus the place in their round."""
    targets: dict[str, list[np.ndarray]] = {}
    for name in (column for column in scores.columns if column != "example_id"):
        targets.setdefault(name.split("/")[0], []).append(scores[name].to_numpy())
    found = {}
    for target, columns in targets.items():
        table = np.stack(columns, axis=1)
        if aggregate == "round_robin":
            found[target] = np.empty(len(table))
            found[target][round_robin(columns)[0]] = -np.arange(len(table), dtype=float)
        else:
            found[target] = table.max(axis=1) if aggregate == "max" else table.mean(axis=1)
    return found


def round_robin(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Let each column in turn take its best row that is not taken yet; equal scores by their place.

    Returns the rows in the order in which they are taken, and the column that took each.
    """
    orders = [np.argsort(-column, kind="stable") for column in columns]
    rows = len(orders[0])
    if len(orders) == 1:
        return orders[0], np.zeros(rows, np.int64)
    taken = np.zeros(rows, bool)
    position = [0] * len(orders)
    order, by = np.empty(rows, np.int64), np.empty(rows, np.int64)
    for number in range(rows):
        column = number % len(orders)
        while taken[orders[column][position[column]]]:
            position[column] += 1
        row = orders[column][position[column]]
        taken[row] = True
        order[number], by[number] = row, column
    return order, by


def chosen_target(found: Mapping[str, np.ndarray], target: str) -> dict[str, np.ndarray]:
    """The scores for one target, or for all."""
    if target in ("", "all"):
        return dict(found)
    if target not in found:
        raise BadSetting(f"There is no target {target!r}. Scores are there for: {', '.join(sorted(found))}.")
    return {target: found[target]}
