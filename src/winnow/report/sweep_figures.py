"""Figures of a sweep: the measure against what was swept, and validation loss against accuracy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from winnow.report.canvas import blank, colors, drawn, styled
from winnow.report.sweep import MEASURES, By, is_numeric
from winnow.report.sweep_relation import Relation, tell
from winnow.sweeps import spelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Grid = Mapping[str, Sequence[Any]]
LOG_FROM = 8
DASHES = "-", "--", ":", "-."


def draw_sweep(ranking: pd.DataFrame, grid: Grid, by: By) -> "Figure":
    """One swept parameter: a line. Two: a line for each choice, a heatmap of two numbers. More: a panel for each."""
    done = ranking.dropna(subset=["rank"])
    keys = list(grid)
    names = [spelled(value) for values in grid.values() for value in values]
    with styled([*keys, *names]):
        if len(keys) == 2 and all(map(is_numeric, grid.values())):
            return drawn(_heatmap(done, grid, by))
        figure = blank(6.5 if len(keys) < 3 else 4 * len(keys), 4.2)
        if len(keys) > 2:
            for panel, key in zip(figure.subplots(1, len(keys), sharey=True), keys, strict=True):
                _projection(panel, done, key, grid[key], by)
        else:
            # A number goes along the axis, a choice becomes lines.
            across, *lines = sorted(keys, key=lambda key: not is_numeric(grid[key]))
            _lines(figure.subplots(), done, grid, across, lines, by)
        return drawn(figure)


def draw_relation(ranking: pd.DataFrame, relation: Relation) -> "Figure":
    """Each setting's validation loss against its accuracy, with their intervals."""
    done = ranking.dropna(subset=["rank"])
    with styled([]):
        figure = blank(6.5, 4.5)
        panel = figure.subplots()
        _bars(panel, done["loss"], 100 * done["accuracy"], 100 * done["accuracy_ci"], done["loss_ci"])
        for place, rank in enumerate(done["rank"]):
            at = (done["loss"].iloc[place], 100 * done["accuracy"].iloc[place])
            panel.annotate(str(rank), at, xytext=(4, 4), textcoords="offset points", fontsize=8)
        panel.set(xlabel="validation loss (numbers: rank)", ylabel="accuracy on validation rows in %")
        panel.set_title(tell(relation), fontsize="small", wrap=True)
        return drawn(figure)


def _lines(panel: Any, done: pd.DataFrame, grid: Grid, across: str, lines: Sequence[str], by: By) -> None:
    values = list(grid[lines[0]]) if lines else [None]
    for number, (value, color) in enumerate(zip(values, colors(len(values)), strict=True)):
        part = done[done[lines[0]].map(lambda found, value=value: found == value)] if lines else done
        part = part.iloc[np.argsort(_places(part[across], grid[across]))]
        x = _places(part[across], grid[across])
        name = f"{lines[0]}={spelled(value)}" if lines else None
        y, spread = _scaled(part, by)
        _bars(panel, x, y, spread, color=color, label=name, linestyle=DASHES[number % len(DASHES)])
        if len(part):
            best = int(np.argmin(part["rank"].to_numpy(dtype=int)))
            panel.plot(x[best], y.iloc[best], marker="*", markersize=15, color=color, linestyle="none")
    panel.set(ylabel=_measured(by))
    _axis(panel, across, grid[across])
    if lines:
        panel.legend(title="star: best")


def _projection(panel: Any, done: pd.DataFrame, key: str, values: Sequence[Any], by: By) -> None:
    """All settings over one parameter, and a line through the best of each value."""
    x = _places(done[key], values)
    y, _ = _scaled(done, by)
    panel.plot(x, y, "o", color="0.6", markersize=4)
    best = pd.DataFrame({"x": x, "y": y.to_numpy(), "rank": done["rank"].to_numpy(dtype=int)})
    best = best.sort_values("rank").groupby("x").first()
    panel.plot(best.index, best["y"], "-o", color=colors(1)[0], label="best of each value")
    panel.set(ylabel=_measured(by))
    _axis(panel, key, values)
    panel.legend()


def _heatmap(done: pd.DataFrame, grid: Grid, by: By) -> "Figure":
    (down, rows), (across, columns) = ((key, sorted(values)) for key, values in grid.items())
    cells = np.full((len(rows), len(columns)), np.nan)
    scaled, _ = _scaled(done, by)
    for row, column, value in zip(done[down], done[across], scaled, strict=True):
        cells[rows.index(row), columns.index(column)] = value
    figure = blank(2.5 + 0.9 * len(columns), 1.8 + 0.6 * len(rows))
    panel = figure.subplots()
    panel.set_facecolor("0.85")
    picture = panel.imshow(cells, cmap="viridis_r" if by == "loss" else "viridis", aspect="auto")
    worst, best = (np.nanmax(cells), np.nanmin(cells)) if by == "loss" else (np.nanmin(cells), np.nanmax(cells))
    for row, column in np.argwhere(np.isfinite(cells)):
        # Good cells are dark.
        value = cells[row, column]
        shade = "white" if abs(value - best) < abs(value - worst) else "black"
        text = f"{value:.3f}" if by == "loss" else f"{value:.1f}"
        weight = "bold" if value == best else "normal"
        panel.text(column, row, text, ha="center", va="center", color=shade, fontsize=9, fontweight=weight)
    panel.set_xticks(range(len(columns)), [spelled(value) for value in columns])
    panel.set_yticks(range(len(rows)), [spelled(value) for value in rows])
    panel.grid(False)
    panel.set(xlabel=across, ylabel=down)
    figure.suptitle(f"{_measured(by)} (best: bold)", fontsize="medium")
    figure.colorbar(picture, ax=panel)
    return figure


def _bars(panel: Any, x: Any, y: Any, spread: Any, wide: Any = None, **style: Any) -> None:
    style = {"color": colors(1)[0], "linestyle": "none", **style}
    panel.errorbar(x, y, yerr=spread, xerr=wide, fmt="o", markersize=4, capsize=3, elinewidth=1, **style)


def _scaled(part: pd.DataFrame, by: By) -> tuple[pd.Series, pd.Series]:
    factor = 1 if by == "loss" else 100
    return factor * part[by], factor * part[f"{by}_ci"]


def _measured(by: By) -> str:
    return MEASURES[by] if by == "loss" else "accuracy on validation rows in %"


def _places(values: pd.Series, grid: Sequence[Any]) -> np.ndarray:
    """Where values stand on their axis: numbers at themselves, choices in the order they were given."""
    found = list(values)
    return np.array(found if is_numeric(grid) else [list(grid).index(value) for value in found], dtype=float)


def _axis(panel: Any, key: str, values: Sequence[Any]) -> None:
    panel.set_xlabel(key)
    if not is_numeric(values):
        panel.set_xticks(range(len(values)), [spelled(value) for value in values])
    elif min(values) > 0 and (key.endswith("lr") or max(values) >= LOG_FROM * min(values)):
        panel.set_xscale("log")
        panel.set_xticks(sorted(values), [spelled(value) for value in sorted(values)])
        panel.minorticks_off()
