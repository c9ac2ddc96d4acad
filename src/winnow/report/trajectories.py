"""Figures of loss trajectories and their clusters. Rows have subset, cluster, subset_cluster, and a loss per step."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from winnow.report.canvas import blank, colors, drawn, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

MOST_LINES = 1000
MOST_SUBSETS = 5
BAND = (0.1, 0.9)


def draw_bands(rows: pl.DataFrame, steps: Sequence[str]) -> "Figure":
    """Mean trajectory of each cluster and the middle 80 % of its rows, over all subsets and in each."""
    return _panels(rows, steps, _bands)


def draw_lines(rows: pl.DataFrame, steps: Sequence[str]) -> "Figure":
    """Every trajectory as a thin line, coloured by its cluster; of many, a random sample."""
    return _panels(rows, steps, _lines)


def draw_composition(rows: pl.DataFrame) -> "Figure":
    """Which subsets each cluster is made of."""
    counts = (
        rows.pivot("subset", index="cluster", values="cluster", aggregate_function="len").sort("cluster").fill_null(0)
    )
    subsets = [name for name in counts.columns if name != "cluster"]
    with styled(subsets) as text:
        figure = blank(7, 1.2 + 0.35 * counts.height)
        axes = figure.subplots()
        left = np.zeros(counts.height)
        for subset, color in zip(sorted(subsets), colors(len(subsets)), strict=True):
            axes.barh(range(counts.height), counts[subset], left=left, color=color, label=text[subset])
            left += counts[subset].to_numpy()
        axes.set_yticks(range(counts.height), [f"cluster {number}" for number in counts["cluster"]])
        axes.invert_yaxis()
        axes.set_xlabel("examples")
        axes.legend(title="subset", bbox_to_anchor=(1.02, 1), loc="upper left")
        return drawn(figure)


def trajectory_chart(rows: pl.DataFrame, steps: Sequence[str]) -> "go.Figure":
    """The interactive twin of the first panel of `draw_bands`."""
    import plotly.graph_objects as go

    chart = go.Figure()
    for cluster, losses in _by_cluster(rows, "cluster", steps):
        bars = {"type": "data", "array": losses.std(axis=0), "visible": False}
        name = f"cluster {cluster} ({len(losses)})"
        chart.add_scatter(x=[int(step) for step in steps], y=losses.mean(axis=0), name=name, error_y=bars)
    chart.update_layout(xaxis_title="step", yaxis_title="mean response loss", template="plotly_white")
    return chart


def _panels(rows: pl.DataFrame, steps: Sequence[str], draw: Any) -> "Figure":
    """One panel for all subsets, and one for each of the largest."""
    largest = rows["subset"].value_counts(sort=True)["subset"].head(MOST_SUBSETS).sort().to_list()
    with styled(largest) as text:
        figure = blank(4 * (1 + len(largest)), 3.6)
        panels = np.atleast_1d(figure.subplots(1, 1 + len(largest), sharey=True))
        draw(panels[0], rows, "cluster", steps)
        panels[0].set(title="all", ylabel="response loss")
        for axes, subset in zip(panels[1:], largest, strict=True):
            draw(axes, rows.filter(pl.col("subset") == subset), "subset_cluster", steps)
            axes.set_title(text[subset])
        for axes in panels:
            axes.set_xlabel("step")
        return drawn(figure)


def _bands(axes: Any, rows: pl.DataFrame, column: str, steps: Sequence[str]) -> None:
    found = list(_by_cluster(rows, column, steps))
    places = [int(step) for step in steps]
    for (cluster, losses), color in zip(found, colors(len(found)), strict=True):
        low, high = np.quantile(losses, BAND, axis=0)
        axes.plot(
            places, losses.mean(axis=0), color=color, marker="o", markersize=3, label=f"{cluster} ({len(losses)})"
        )
        axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    axes.legend(title="cluster (rows)", fontsize="small")


def _lines(axes: Any, rows: pl.DataFrame, column: str, steps: Sequence[str]) -> None:
    clusters = sorted(rows[column].unique())
    palette = dict(zip(clusters, colors(len(clusters)), strict=True))
    shown = rows.sample(min(MOST_LINES, rows.height), seed=0)
    places = [int(step) for step in steps]
    for cluster, losses in _by_cluster(shown, column, steps):
        axes.plot(places, losses.T, color=palette[cluster], alpha=0.15, linewidth=0.6)
    if shown.height < rows.height:
        axes.text(0.98, 0.97, f"{shown.height:,} of {rows.height:,}", transform=axes.transAxes, ha="right", va="top")


def _by_cluster(rows: pl.DataFrame, column: str, steps: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
    for (cluster,), part in sorted(rows.group_by(column), key=lambda pair: pair[0]):
        yield int(str(cluster)), part.select(steps).to_numpy()
