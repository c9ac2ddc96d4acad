"""Heatmaps whose colours are centred at zero: red is negative, blue is positive."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.influence.values import Values
from winnow.report.canvas import blank, drawn, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERS = 12
LONGEST = 28


def draw_heatmap(
    cells: Values, title: str, axes: tuple[str, str], numbers: bool, most: float = 0, lines: tuple[int, int] = (0, 0)
) -> "Figure":
    """Values and errors of each cell as numbers where asked for; a dot is within two errors of zero.

    ``most`` is where the colours end, of its own accord the largest value; ``lines`` cut before a row and a column.
    """
    return _draw({title: cells}, axes, numbers, most, lines)


def draw_heatmaps(parts: Mapping[str, Values], axes: tuple[str, str], most: float = 0) -> "Figure":
    """Heatmaps of the same rows and columns side by side, each under its title; numbers where there is room."""
    columns = max(len(cells.columns) for cells in parts.values())
    return _draw(parts, axes, columns <= MOST_NUMBERS, most, (0, 0))


def _draw(
    parts: Mapping[str, Values], axes: tuple[str, str], numbers: bool, most: float, lines: tuple[int, int]
) -> "Figure":
    cells = next(iter(parts.values()))
    names = shortened([*cells.rows, *cells.columns])
    width = 0.7 if numbers else 0.36
    with styled(names.values()) as text:
        longest = [max(len(names[name]) for name in side) for side in (cells.rows, cells.columns)]
        size = (2.4 + 0.09 * longest[0] + width * len(cells.columns), 1.5 + 0.07 * longest[1] + 0.45 * len(cells.rows))
        figure = blank(max(6, size[0]) * len(parts), size[1])
        shown = {name: text[short] for name, short in names.items()}
        for panel, (title, part) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
            _paint(figure, panel, part, shown, most, numbers)
            for place, draw in zip(lines, (panel.axhline, panel.axvline), strict=True):
                if place:
                    draw(place - 0.5, color="black", linewidth=1.5)
            panel.set(xlabel=axes[1], ylabel=axes[0])
            said = title + unit_of(_top(part, most))[1]
            (figure.suptitle if len(parts) == 1 else panel.set_title)(said, fontsize="medium")
        return drawn(figure)


def _top(cells: Values, most: float) -> float:
    return most or float(np.nanmax(np.abs(cells.values), initial=1e-300))


def _paint(figure: "Figure", panel: Any, cells: Values, shown: Mapping[str, str], most: float, numbers: bool) -> None:
    top = _top(cells, most)
    factor = unit_of(top)[0]
    panel.set_facecolor("0.85")
    picture = panel.imshow(cells.values * factor, vmin=-top * factor, vmax=top * factor, cmap="RdBu", aspect="auto")
    _mark(panel, cells, top, factor if numbers else 0)
    columns = [shown[name] for name in cells.columns]
    panel.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor")
    panel.set_yticks(range(len(cells.rows)), [shown[name] for name in cells.rows])
    panel.grid(False)
    figure.colorbar(picture, ax=panel, aspect=12, shrink=0.9)


def shortened(names: Iterable[str]) -> dict[str, str]:
    """Long names without their middle, as long as they stay different."""
    different = set(names)
    for tail in range(LONGEST - 12, max(map(len, different), default=0)):
        cut = {name: name if len(name) <= tail + 12 else f"{name[:11]}…{name[-tail:]}" for name in different}
        if len(set(cut.values())) == len(different):
            return cut
    return {name: name for name in different}


def told(value: float, error: float) -> str:
    """A value, and its error where there is one."""
    return f"{value:.2f}" + (f" ± {error:.2f}" if math.isfinite(error) else "")


def unit_of(most: float) -> tuple[float, str]:
    """A power of ten that makes values easy to read, and how to say so."""
    power = math.floor(math.log10(most)) if most > 0 and math.isfinite(most) else 0
    return (1.0, "") if -3 < power < 3 else (10.0**-power, f" (in 1e{power})")


def _mark(panel: Any, cells: Values, top: float, factor: float) -> None:
    """Dots, and numbers where there is a factor."""
    digits = 3 if top * factor < 1 else 2
    for row, column in np.ndindex(cells.values.shape):
        value, error = cells.values[row, column], cells.errors[row, column]
        if not abs(value) > 2 * error and error != 0:
            panel.plot(column + 0.38, row - 0.36, ".", color="black", markersize=3)
        if factor:
            shade = "white" if abs(value) > 0.6 * top else "black"
            label = f"{value * factor:.{digits}f}" + (f"\n± {error * factor:.{digits}f}" if error > 1e-9 * top else "")
            panel.text(column, row, label, ha="center", va="center", fontsize=7, color=shade)
