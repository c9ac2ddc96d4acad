"""Models trained without one cluster at a time: which domain's loss changes, and did influence foresee it?

All trainings have the same number of steps. So without a cluster of the share p of all rows, the others are trained on
more often, and by the first order the loss of a domain rises by p / (1 - p) times what the cluster's influence has over
the mean influence of all rows. Influence has units of its own: ranks are compared.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import polars as pl

from winnow.errors import BadSetting
from winnow.influence.matrix import AVERAGE, natural
from winnow.influence.retrain import PLAIN
from winnow.influence.values import Values
from winnow.params import LeaveOutParams
from winnow.report.gains import Losses, Mixed, rank_agreement, realised_gains
from winnow.report.verdict import holm

PREFIX = "verify/leave_out"
_SHOWN = ("predicted", "measured", "measured_ci")


def mixes_without(
    clusters: Mapping[str, str], params: LeaveOutParams
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Mixes by `<cluster>@<seed>`, each without that cluster, and `@<seed>` with all; and the seed of each."""
    names = sorted(clusters)
    if params.rows is not None and params.rows < len(names):
        names = sorted(np.random.default_rng(0).permutation(names)[: params.rows].tolist())
    mixes, seeds = {}, {}
    for left_out in (PLAIN, *sorted({clusters[name] for name in names}, key=natural)):
        mix = {name: 1 for name in names if clusters[name] != left_out}
        if not mix:
            raise BadSetting(
                f"Without the cluster {left_out!r} none of {len(names)} rows is left: all of them are in it. Leaving "
                "out needs two clusters: set another `influence.columns`, or more `clusters.k` or "
                "`verify.leave_out.rows`."
            )
        for seed in range(params.seeds):
            mixes[f"{left_out}@{seed}"], seeds[f"{left_out}@{seed}"] = mix, seed
    return mixes, seeds


def predicted_changes(cells: pl.DataFrame) -> dict[str, dict[str, float]]:
    """By cluster and domain, how the loss should change by the first order without the cluster."""
    share = pl.col("rows") / pl.col("rows").sum().over("domain")
    parts = cells.filter(pl.col("domain") != AVERAGE).with_columns(share=share)
    mean = (pl.col("share") * pl.col("influence")).sum().over("domain")
    change = pl.col("share") / (1 - pl.col("share")) * (pl.col("influence") - mean)
    found: dict[str, dict[str, float]] = {}
    for cluster, domain, value in parts.select("cluster", "domain", change.alias("change")).iter_rows():
        found.setdefault(cluster, {})[domain] = value
    return found


def left_out(predicted: Mapping[str, Mapping[str, float]], losses: Mapping[str, Losses]) -> list[Mixed]:
    """Each cluster's predicted and measured loss; what is called a gain is a fall of it, and a rise is below zero."""
    return [
        Mixed(cluster, {domain: -change for domain, change in changes.items()}, losses[cluster], losses[PLAIN])
        for cluster, changes in predicted.items()
        if cluster in losses
    ]


def leave_out_table(mixed: list[Mixed], cells: pl.DataFrame) -> pd.DataFrame:
    """A row for each cluster and domain: rows, predicted and measured rise of the loss without it, and its interval.

    Each row is one test; `p_holm` is corrected for all of them.
    """
    sizes = dict(cells.select("cluster", "rows").unique().iter_rows())
    rows = []
    for cluster in mixed:
        for domain, fall in realised_gains(cluster.losses, cluster.reference).items():
            predicted = -cluster.predicted[domain]
            rows.append(
                (cluster.name, domain, sizes[cluster.name], predicted, -fall.mean, fall.half_width, fall.p_value)
            )
    columns = ["cluster", "domain", "rows", "predicted", "measured", "measured_ci", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table["p_value"].tolist()))


def leave_out_metrics(mixed: list[Mixed]) -> dict[str, float]:
    """Spearman's correlation of predicted and measured changes over clusters, of each domain and in the mean."""
    return {f"{PREFIX}/{name.partition('/')[2]}": value for name, value in rank_agreement(mixed).items()}


def as_heatmaps(table: pd.DataFrame) -> tuple[Values, Values]:
    """Predicted and measured changes [domains, clusters]; two errors of a measured one are its interval."""
    clusters, domains = table["cluster"].unique().tolist(), sorted(table["domain"].unique())
    squares = [table.pivot(index="domain", columns="cluster", values=name) for name in _SHOWN]
    predicted, measured, half = (square.loc[domains, clusters].to_numpy() for square in squares)
    return Values(domains, clusters, predicted, np.zeros_like(half)), Values(domains, clusters, measured, half / 2)
