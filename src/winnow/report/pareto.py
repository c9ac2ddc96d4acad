"""Figures of mixtures chosen by an influence matrix."""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from winnow.report.canvas import blank, colors, drawn, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 200
_WEIGHT, _GAIN = "weight/", "gain/"


def draw_mixtures(choices: pl.DataFrame, front: pl.DataFrame) -> "Figure":
    """Predicted gains of front and choices as parallel coordinates and in pairs; and what the choices are made of."""
    domains = [name.removeprefix(_GAIN) for name in front.columns if name.startswith(_GAIN)]
    clusters = [name.removeprefix(_WEIGHT) for name in choices.columns if name.startswith(_WEIGHT)]
    names = choices["strategy"].to_list()
    gains = {table: frame.select(_GAIN + name for name in domains).to_numpy() for table, frame in
             (("front", front), ("choices", choices))}  # fmt: skip
    shades = colors(len(names))
    pairs = [(0, 1)] if len(domains) == 2 else [(n, (n + 1) % len(domains)) for n in range(min(3, len(domains)))]
    pairs = pairs if len(domains) > 1 else []
    with styled([*domains, *clusters, *names]) as text:
        figure = blank(5 * (1 + len(pairs)), 8)
        halves: Any = figure.subfigures(2, 1)
        upper, lower = halves
        panels = np.atleast_1d(upper.subplots(1, 1 + len(pairs)))
        for line in gains["front"][:: -(-len(gains["front"]) // MOST_LINES)]:
            panels[0].plot(range(len(domains)), line, color="0.8", linewidth=0.5)
        for name, line, shade in zip(names, gains["choices"], shades, strict=True):
            panels[0].plot(range(len(domains)), line, "o-", color=shade, label=text[name])
        panels[0].set_xticks(range(len(domains)), [text[name] for name in domains])
        panels[0].set(ylabel="predicted gain", title="front (grey) and choices")
        for axes, (x, y) in zip(panels[1:], pairs, strict=True):
            axes.plot(gains["front"][:, x], gains["front"][:, y], ".", color="0.8")
            for line, shade in zip(gains["choices"], shades, strict=True):
                axes.plot(line[x], line[y], "o", color=shade)
            axes.locator_params(axis="x", nbins=5)
            axes.set(xlabel=f"gain of {text[domains[x]]}", ylabel=f"gain of {text[domains[y]]}")
        upper.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", title="choice")
        _draw_shares(lower, choices, clusters, text)
        return drawn(figure)


def _draw_shares(figure: Any, choices: pl.DataFrame, clusters: list[str], text: dict[str, str]) -> None:
    axes = figure.subplots()
    shares = choices.select(_WEIGHT + name for name in clusters).to_numpy()
    picture = axes.imshow(100 * shares, vmin=0, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(clusters)), [text[name] for name in clusters], rotation=60, ha="right")
    axes.set_yticks(range(choices.height), [text[name] for name in choices["strategy"]])
    axes.grid(False)
    axes.set(title="share of the mixture in %")
    figure.colorbar(picture, ax=axes, shrink=0.8)
