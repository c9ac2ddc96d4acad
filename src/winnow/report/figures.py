"""Figures of a study: accuracy with intervals, loss curves with the spread over seeds, and cost, per arm."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from winnow.report.fonts import drawable

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

SMOOTHED_STEPS = 5
COSTS = {
    "seconds": "seconds, all seeds",
    "peak_memory_gb": "peak memory in GB",
    "tokens_per_second": "tokens per second",
}


def draw_accuracy(comparison: pd.DataFrame) -> "Figure":
    """Accuracy of each arm, overall and per domain, with 95 % intervals."""
    domains = domains_of(comparison)
    lines = len(domains) + 1
    with _style([*comparison["arm"], *domains]) as text:
        figure = _figure(8, 1.4 + len(comparison) * max(0.6, 0.14 * lines))
        axes = figure.subplots()
        for number, (domain, color) in enumerate(zip(["", *domains], ["black", *_colors(lines - 1)], strict=True)):
            accuracy, half_width = (comparison[_column(name, domain)] for name in ("accuracy", "accuracy_ci"))
            places = [place + (number / lines - 0.5 + 0.5 / lines) * 0.8 for place in range(len(comparison))]
            bars: dict[str, Any] = {"xerr": 100 * half_width, "fmt": "o", "capsize": 3, "markersize": 4}
            axes.errorbar(100 * accuracy, places, **bars, label=text[domain] if domain else "all", color=color)
        axes.set_yticks(range(len(comparison)), comparison["arm"])
        axes.invert_yaxis()
        axes.set_xlabel("exact match in %, 95 % interval")
        axes.legend(title="domain", bbox_to_anchor=(1.02, 1), loc="upper left")
        return _drawn(figure)


def draw_losses(curves: Mapping[str, pd.DataFrame]) -> "Figure":
    """Training loss of each arm (columns step, seed, loss): the mean over its seeds, and the range between them."""
    with _style(curves):
        figure = _figure(7, 4)
        axes = figure.subplots()
        for color, (arm, curve) in zip(_colors(len(curves)), curves.items(), strict=True):
            losses = curve.pivot(index="step", columns="seed", values="loss")
            losses = losses.rolling(SMOOTHED_STEPS, min_periods=1).mean()
            axes.plot(losses.index, losses.mean(axis=1), label=arm, color=color)
            axes.fill_between(losses.index, losses.min(axis=1), losses.max(axis=1), color=color, alpha=0.2, linewidth=0)
        axes.set(xlabel="optimizer step", ylabel=f"training loss (mean of {SMOOTHED_STEPS} steps; band: seeds)")
        if curves:
            axes.legend(title="arm")
        return _drawn(figure)


def draw_cost(comparison: pd.DataFrame) -> "Figure":
    """What each arm cost: time of training and evaluation, peak memory, speed."""
    with _style(comparison["arm"]):
        figure = _figure(9, 1.2 + 0.35 * len(comparison))
        for axes, (column, label) in zip(figure.subplots(1, len(COSTS), sharey=True), COSTS.items(), strict=True):
            axes.barh(range(len(comparison)), comparison[column], color=_colors(1)[0])
            axes.set_xlabel(label)
            axes.set_yticks(range(len(comparison)), comparison["arm"])
        figure.axes[0].invert_yaxis()
        return _drawn(figure)


def accuracy_chart(comparison: pd.DataFrame) -> "go.Figure":
    """The interactive twin of `draw_accuracy`."""
    import plotly.graph_objects as go

    chart = go.Figure()
    for domain in ["", *domains_of(comparison)]:
        bars: dict[str, Any] = {"type": "data", "array": 100 * comparison[_column("accuracy_ci", domain)]}
        accuracy = 100 * comparison[_column("accuracy", domain)]
        chart.add_bar(name=domain or "all", x=comparison["arm"], y=accuracy, error_y=bars)
    chart.update_layout(barmode="group", yaxis_title="exact match in %", legend_title="domain", template="plotly_white")
    return chart


def domains_of(comparison: pd.DataFrame) -> list[str]:
    """The domains a comparison has columns for."""
    return [name.removeprefix("accuracy/") for name in comparison.columns if name.startswith("accuracy/")]


@contextmanager
def _style(labels: Iterable[str]) -> Iterator[dict[str, str]]:
    """One look for all figures, no change to the caller's own settings; gives the labels as they can be drawn."""
    from matplotlib import style

    families, texts = drawable(labels)
    # A label is text, also where a folder's name has dollar signs in it.
    with style.context(["seaborn-v0_8-whitegrid", {"font.family": families, "text.parse_math": False}]):
        yield texts


def _figure(width: float, height: float) -> "Figure":
    """A figure that pyplot does not know: nothing is shown, and nothing stays in memory."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _drawn(figure: "Figure") -> "Figure":
    """Tick labels are made at the first drawing, with the style of that moment."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return figure


def _colors(number: int) -> list[Any]:
    """Colours that a colour-blind reader tells apart, as far as there are enough of them."""
    import matplotlib as mpl

    few = mpl.color_sequences["petroff10"]
    return few[:number] if number <= len(few) else list(mpl.colormaps["turbo"].resampled(number)(range(number)))


def _column(name: str, domain: str) -> str:
    return f"{name}/{domain}" if domain else name
