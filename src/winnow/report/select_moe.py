"""Figures of Select-MoE: the quality of each subset and layer, and what the routers learnt to throw away."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from winnow.report.canvas import blank, colors, drawn, styled
from winnow.report.excerpts import both_ends, with_text
from winnow.report.heatmap import shortened
from winnow.report.spread import bins, draw_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SUBSETS = 30
BAND = (0.1, 0.9)
SMOOTH_SHARE = 0.02
LAYER = "layer_"
TRASH = "trash_mass/layer_"


def draw_quality(quality: pl.DataFrame) -> "Figure":
    """How quality is spread in each subset, the best median on top; the middle 99 % of each is in the picture."""
    order = _largest_subsets(quality)
    values = {name: quality.filter(pl.col("subset") == name)["quality"].to_numpy() for name in order}
    edges = bins(list(values.values()))
    short = shortened(order)
    with styled(short.values()) as text:
        figure = blank(9, 1.6 + 0.36 * len(order))
        axes = figure.subplots()
        for place, name in enumerate(order):
            draw_spread(axes, values[name], edges, len(order) - 1 - place)
        labels = [f"{text[short[name]]} ({len(values[name]):,})" for name in reversed(order)]
        axes.set_yticks(np.arange(len(order)) + 0.3, labels)
        axes.set(xlabel="quality (share of routing on real experts)", xlim=(edges[0], edges[-1]))
        axes.set(
            title=_title("quality of each subset, with its median", quality, order), ylim=(-0.15, len(order) + 0.1)
        )
        axes.grid(visible=False, axis="y")
        return drawn(figure)


def draw_warmup(history: pd.DataFrame, least: float) -> "Figure":
    """What each layer throws away over the steps of stage 1, and the two parts of the loss.

    ``least`` is the trash mass at which the constraint is least.
    """
    with styled([]):
        figure = blank(14, 4.2)
        mass, ce, constraint = figure.subplots(1, 3, width_ratios=(2, 1, 1))
        window = max(1, round(SMOOTH_SHARE * len(history)))
        _draw_mass(figure, mass, history, least, window)
        for axes, name, title in ((ce, "ce", "cross-entropy"), (constraint, "constraint", "constraint, unweighted")):
            axes.plot(history["step"], history[name], color="0.75", linewidth=0.6)
            axes.plot(history["step"], _smooth(history[name], window), **_style(history), color=colors(1)[0])
            axes.set(xlabel="step", title=title)
        for axes in (mass, ce, constraint):
            axes.xaxis.set_major_locator(_whole())
        if window > 1:
            figure.supxlabel(f"lines are running means over {window} steps", fontsize="small")
        return drawn(figure)


def _draw_mass(figure: Any, axes: Any, history: pd.DataFrame, least: float, window: int) -> None:
    columns = sorted((name for name in history if str(name).startswith(TRASH)), key=_number)
    depth = _depth(len(columns))
    for place, name in enumerate(columns):
        line = _smooth(history[name], window)
        axes.plot(history["step"], line, **_style(history), color=depth.to_rgba(place), linewidth=1, alpha=0.85)
    axes.plot(
        history["step"], _smooth(history["trash_share"], window), color="black", linestyle="--", linewidth=1.6,
        label="tokens with a trash expert in the top-k",
    )  # fmt: skip
    axes.axhline(least, color="tab:red", linestyle=":", linewidth=1.6, label=f"the constraint's minimum ({least:.2g})")
    figure.colorbar(depth, ax=axes, label="layer", pad=0.01, ticks=_whole())
    axes.set(xlabel="step", ylabel="share", title="trash mass of each layer")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize="small")


def draw_layers(quality: pl.DataFrame) -> "Figure":
    """Mean quality at each layer, and how far each subset is from it."""
    layers = sorted((name for name in quality.columns if name.startswith(LAYER)), key=_number)
    subsets = _largest_subsets(quality)
    several = len(subsets) > 1
    short = shortened(subsets)
    with styled(short.values()) as text:
        height = 3 + (0.9 + 0.3 * len(subsets) if several else 0)
        figure = blank(min(16, max(8, 5.5 + 0.28 * len(layers))), height)
        ratios = (2.2, 0.3 * len(subsets) + 0.4) if several else (1,)
        panels = figure.subplots(len(ratios), 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
        _draw_means(panels[0], quality.select(layers).to_numpy().astype(float))
        panels[0].set_title(_title("quality at each layer", quality, subsets))
        if several:
            _draw_apart(figure, panels[1], quality, layers, subsets)
            panels[1].set_yticks(range(len(subsets)), [text[short[name]] for name in subsets])
        panels[-1].set(xlabel="layer", xlim=(-0.5, len(layers) - 0.5))
        panels[-1].xaxis.set_major_locator(_whole())
        return drawn(figure)


def _draw_means(axes: Any, values: np.ndarray) -> None:
    places = np.arange(values.shape[1])
    low, high = np.quantile(values, BAND, axis=0)
    color = colors(1)[0]
    axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0, label="middle 80 % of rows")
    axes.vlines(places, low, high, color=color, alpha=0.3, linewidth=1)
    axes.plot(places, values.mean(axis=0), color=color, marker="o", markersize=3, label="mean of all rows")
    axes.set_ylabel("quality")
    axes.legend(fontsize="small")


def _draw_apart(figure: Any, axes: Any, quality: pl.DataFrame, layers: Sequence[str], subsets: Sequence[str]) -> None:
    """Subsets x layers; a dot where the difference is within two standard errors of the subset's mean."""
    average = quality.select(layers).to_numpy().astype(float).mean(axis=0)
    parts = [quality.filter(pl.col("subset") == name).select(layers).to_numpy().astype(float) for name in subsets]
    apart = np.stack([part.mean(axis=0) - average for part in parts])
    errors = np.stack([part.std(axis=0) / max(1, len(part) - 1) ** 0.5 for part in parts])
    top = float(np.abs(apart).max(initial=1e-9))
    picture = axes.imshow(apart, vmin=-top, vmax=top, cmap="RdBu", aspect="auto")
    rows, columns = np.nonzero(np.abs(apart) <= 2 * errors)
    axes.plot(columns, rows, ".", color="black", markersize=2.5)
    axes.grid(visible=False)
    axes.set_title("a subset's mean less that of all rows (dot: within two standard errors)", fontsize="medium")
    figure.colorbar(picture, ax=axes, pad=0.01, aspect=12)


def extreme_rows(quality: pl.DataFrame, train: pl.LazyFrame) -> pd.DataFrame:
    """The best and the worst rows with the beginning of their text: rank, example_id, subset, quality, text."""
    best_first = quality.sort("quality", "example_id", descending=[True, False]).with_row_index("rank")
    shown = best_first[both_ends(quality.height)].select("rank", "example_id", "subset", "quality")
    return with_text(shown, train)


def _largest_subsets(quality: pl.DataFrame) -> list[str]:
    """The one with the highest median first."""
    subsets = quality.group_by("subset").agg(pl.len().alias("rows"), pl.median("quality"))
    largest = subsets.sort("rows", "subset", descending=[True, False]).head(MOST_SUBSETS)
    return largest.sort("quality", "subset", descending=[True, False])["subset"].to_list()


def _title(title: str, quality: pl.DataFrame, shown: Sequence[str]) -> str:
    number = quality["subset"].n_unique()
    return title if len(shown) == number else f"{title} (the {len(shown)} largest of {number} subsets)"


def _smooth(values: pd.Series, window: int) -> pd.Series:
    return values.rolling(window, min_periods=1, center=True).mean()


def _style(history: pd.DataFrame) -> dict[str, Any]:
    """A single step is a point, not an empty line."""
    return {"marker": "o", "markersize": 3} if len(history) <= 20 else {}


def _number(name: object) -> int:
    return int(str(name).rpartition("_")[2])


def _depth(layers: int) -> Any:
    """A colour for each layer, from dark to bright; the brightest of the map are too faint on white."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = mpl.colormaps["viridis"](np.linspace(0, 0.92, layers))
    return ScalarMappable(Normalize(-0.5, layers - 0.5), ListedColormap(shades))


def _whole() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, min_n_ticks=1)
