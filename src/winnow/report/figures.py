"""Figures of a study: accuracy with intervals, loss curves with the spread over seeds, and cost, per arm."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from winnow.report.canvas import blank, colors, drawn, room_for, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

SMOOTHED_STEPS = 5
COSTS = {
    "seconds": "seconds of work, all seeds",
    "peak_memory_gb": "peak memory of a process in GB",
    "tokens_per_second": "tokens per second",
}


def draw_accuracy(comparison: pd.DataFrame) -> "Figure":
    """Accuracy of each arm, overall and per domain, with 95 % intervals."""
    domains = domains_of(comparison)
    lines = len(domains) + 1
    with styled([*comparison["arm"], *domains]) as text:
        figure = blank(8, 1.4 + len(comparison) * max(0.6, 0.14 * lines))
        axes = figure.subplots()
        for number, (domain, color) in enumerate(zip(["", *domains], ["black", *colors(lines - 1)], strict=True)):
            accuracy, half_width = (comparison[_column(name, domain)] for name in ("accuracy", "accuracy_ci"))
            places = [place + (number / lines - 0.5 + 0.5 / lines) * 0.8 for place in range(len(comparison))]
            bars: dict[str, Any] = {"xerr": 100 * half_width, "fmt": "o", "capsize": 3, "markersize": 4}
            axes.errorbar(100 * accuracy, places, **bars, label=text[domain] if domain else "all", color=color)
        axes.set_yticks(range(len(comparison)), comparison["arm"])
        axes.set_ylim(len(comparison) - 0.5, -0.5)
        axes.set_xlabel("exact match in %, 95 % interval")
        axes.legend(title="domain", bbox_to_anchor=(1.02, 1), loc="upper left")
        return drawn(figure)


def draw_losses(curves: Mapping[str, pd.DataFrame]) -> "Figure":
    """Training loss of each arm (columns step, seed, loss): the mean over its seeds, and the range between them."""
    with styled(curves):
        figure = blank(8.5, room_for(len(curves), 4))
        axes = figure.subplots()
        for color, (arm, curve) in zip(colors(len(curves)), curves.items(), strict=True):
            losses = curve.pivot(index="step", columns="seed", values="loss")
            losses = losses.rolling(SMOOTHED_STEPS, min_periods=1).mean()
            axes.plot(losses.index, losses.mean(axis=1), label=arm, color=color)
            axes.fill_between(losses.index, losses.min(axis=1), losses.max(axis=1), color=color, alpha=0.2, linewidth=0)
        axes.set(xlabel="optimizer step", ylabel=f"training loss (mean of {SMOOTHED_STEPS} steps; band: seeds)")
        if curves:
            axes.legend(title="arm", bbox_to_anchor=(1.02, 1), loc="upper left")
        return drawn(figure)


def draw_cost(comparison: pd.DataFrame) -> "Figure":
    """What each arm cost: seconds of work of training and evaluation, peak memory of one process, speed."""
    with styled(comparison["arm"]):
        figure = blank(9, 1.2 + 0.35 * len(comparison))
        for axes, (column, label) in zip(figure.subplots(1, len(COSTS), sharey=True), COSTS.items(), strict=True):
            axes.barh(range(len(comparison)), comparison[column], color=colors(1)[0])
            axes.set_xlabel(label)
            axes.set_yticks(range(len(comparison)), comparison["arm"])
        figure.axes[0].set_ylim(len(comparison) - 0.4, -0.6)
        return drawn(figure)


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


def _column(name: str, domain: str) -> str:
    return f"{name}/{domain}" if domain else name
