"""What baselines say of rows: how perplexity and difficulty are spread, and the rows at both ends of each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from winnow.report.canvas import blank, drawn, styled
from winnow.report.excerpts import both_ends, with_text
from winnow.report.heatmap import shortened
from winnow.report.separation import BY_RANK, separation
from winnow.report.spread import bins, draw_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_GROUPS = 30
_LOG_PERPLEXITY, _IFD = "log10 of the perplexity", "instruction-following difficulty"


def draw_row_scores(scores: pl.DataFrame, group: str) -> "Figure":
    """How perplexity and difficulty are spread in each ``group``, the largest groups on top.

    ``scores`` has loss, ifd and the column ``group``; rows without a finite value are in no picture.
    """
    largest = scores.group_by(group).len().sort("len", group, descending=[True, False]).head(MOST_GROUPS)
    groups = largest[group].to_list()
    measures = {_LOG_PERPLEXITY: pl.col("loss") / np.log(10), _IFD: pl.col("ifd")}
    short = shortened(groups)
    with styled(short.values()) as text:
        figure = blank(14, 1.6 + 0.36 * len(groups))
        labels = [f"{text[short[name]]} ({rows:,})" for name, rows in largest.rows()]
        for axes, (title, value) in zip(figure.subplots(1, 2), measures.items(), strict=True):
            part = scores.select(group, value=value.cast(pl.Float64)).filter(pl.col("value").is_finite())
            _draw_measure(axes, title, part, group, groups, labels)
        if (number := scores[group].n_unique()) > len(groups):
            figure.suptitle(f"the {len(groups)} largest of {number}", fontsize="medium")
        return drawn(figure)


def _draw_measure(axes: Any, title: str, part: pl.DataFrame, group: str, groups: list[str], labels: list[str]) -> None:
    values = {name: part.filter(pl.col(group) == name)["value"].to_numpy() for name in groups}
    values = {name: found for name, found in values.items() if len(found)}
    edges = bins(list(values.values())) if values else np.linspace(0, 1, 2)
    for name, found in values.items():
        draw_spread(axes, found, edges, len(groups) - 1 - groups.index(name))
    if title == _IFD:
        axes.axvline(1, color="tab:red", linestyle=":", linewidth=1.2)
    axes.set_yticks(np.arange(len(groups)) + 0.3, labels[::-1])
    axes.set(xlabel=title, xlim=(edges[0], edges[-1]), ylim=(-0.15, len(groups) + 0.1))
    axes.grid(visible=False, axis="y")


def ends_of(rankings: Mapping[str, pd.DataFrame], train: pl.LazyFrame) -> pd.DataFrame:
    """The first and the last rows of each arm's ranking, with the beginning of their text."""
    parts = []
    for arm, ranking in rankings.items():
        ends = pl.from_pandas(ranking.iloc[both_ends(len(ranking))][["rank", "example_id", "score"]])
        parts.append(ends.select(pl.lit(arm).alias("arm"), "rank", "example_id", "score"))
    return with_text(pl.concat(parts), train)


def separations(rankings: Mapping[str, pd.DataFrame], truth: pl.DataFrame) -> pl.DataFrame:
    """Whether each arm ranks clean rows before planted ones: the area under the ROC curve of each kind."""
    parts = []
    for arm, ranking in rankings.items():
        early = pl.DataFrame({"example_id": ranking["example_id"].tolist(), "quality": -ranking["rank"].to_numpy()})
        parts.append(separation(early, truth, BY_RANK).select(pl.lit(arm).alias("arm"), pl.all()))
    return pl.concat(parts)
