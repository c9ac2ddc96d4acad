"""Gain against cost: what an arm gained over its control, and what one model of it cost.

The cost is in seconds of work, each process by itself: training and evaluating one seed, and, where the run tells it,
what was computed to choose the rows alone (warm-ups, gradients, a pass of a model), once and whole, although arms may
share it.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from winnow.report.canvas import blank, colors, drawn, logarithmic, room_for, styled
from winnow.report.compared import ACCURACY, Compared, controls_of

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

LOG_FROM = 10
# More names than these would lie on each other: they go into a legend.
MOST_NAMES = 8
# Plotly's word for ticks at 1, 2 and 5 of each power of ten.
DTICK = {"log": "D2"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
MARKS = ("o", "s", "D", "^")
# Two ways to the same difference of accuracies agree to this.
SAME = 1e-9
GAIN = "gain over its control in points, 95 % interval"


def gain_and_cost(rows: Sequence[Compared]) -> pd.DataFrame:
    """A line per row that has a control among the rows, or is one: gain and its interval in points, cost in seconds.

    A control gains nothing over itself, and of several the strongest counts. Where no test was made the gain is the
    difference of the two accuracies.
    """
    by_arm = {(row.parent, row.arm): row for row in rows}
    own = {row.name: _controls(row, by_arm) for row in rows}
    controls = {control.name for found in own.values() for control in found}
    lines = []
    for row in rows:
        is_control = not own[row.name] and row.name in controls
        if not own[row.name] and not is_control and math.isnan(row.effect):
            continue
        control, gain, half_width = ("", 0.0, math.nan) if is_control else _gain(row, own[row.name])
        choosing = 0.0 if math.isnan(row.choosing_seconds) else row.choosing_seconds
        lines.append(
            {
                "arm": row.name,
                "control": control,
                "gain": gain,
                "gain_ci": half_width,
                "choosing": row.choosing_seconds,
                "training": row.seconds_per_seed,
                "cost": row.seconds_per_seed + choosing,
            }
        )
    columns = ["arm", "control", "gain", "gain_ci", "choosing", "training", "cost"]
    return pd.DataFrame(lines, columns=columns).dropna(subset=["gain", "cost"], ignore_index=True)


def cost_label(table: pd.DataFrame) -> str:
    """What the cost is of: the choosing is in it only where every arm tells it."""
    done = "choose, train" if table["choosing"].notna().all() else "train"
    return f"seconds of work to {done} and evaluate one seed"


def plotly_text(text: str) -> str:
    """A text for Plotly, which reads some tags: what looks like one is not meant so."""
    return escape(text, quote=False)


def draw_gain_cost(rows: Sequence[Compared]) -> "Figure":
    """Each arm's gain over its cost, for a file."""
    table = _comparable(gain_and_cost(rows))
    many = len(table) > MOST_NAMES
    with styled(table["arm"]) as text:
        figure = blank(9 if many else 7, room_for(len(table), 4.5) if many else 4.5)
        axes = figure.subplots()
        axes.axhline(0, color="0.4", linewidth=1)
        shades = colors(max(len(table), 1))
        for place, line in enumerate(table.to_dict("records")):
            name = text[line["arm"]] + ("" if line["control"] else " (control)")
            spread = None if math.isnan(line["gain_ci"]) else line["gain_ci"]
            look: dict[str, Any] = {"fmt": MARKS[place % len(MARKS)], "color": shades[place], "label": name}
            look |= {} if line["control"] else {"markerfacecolor": "white"}
            axes.errorbar(line["cost"], line["gain"], yerr=spread, capsize=3, **look)
            if not many:
                at = (line["cost"], line["gain"])
                axes.annotate(name, at, xytext=(7, 5), textcoords="offset points", fontsize=8)
        if many:
            axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize=8)
        if _is_wide(table):
            logarithmic(axes)
        axes.margins(x=0.05 if many else 0.18, y=0.12)
        axes.set(xlabel=cost_label(table), ylabel=GAIN)
        return drawn(figure)


def gain_chart(rows: Sequence[Compared]) -> "go.Figure":
    """The interactive twin of `draw_gain_cost`."""
    import plotly.graph_objects as go

    table = _comparable(gain_and_cost(rows))
    many = len(table) > MOST_NAMES
    chart = go.Figure()
    for place, line in enumerate(table.to_dict("records")):
        symbol = SYMBOLS[place % len(SYMBOLS)]
        spread = {"type": "data", "array": [line["gain_ci"]], "thickness": 1.5}
        chart.add_scatter(
            x=[line["cost"]],
            y=[line["gain"]],
            error_y=None if math.isnan(line["gain_ci"]) else spread,
            mode="markers" if many else "markers+text",
            text=[plotly_text(line["arm"])],
            textposition="middle right" if line["control"] else "top center",
            marker={"size": 11, "symbol": symbol if line["control"] else f"{symbol}-open"},
            name=plotly_text(line["arm"]),
            hovertext=[_told(line)],
            hoverinfo="text",
        )
    chart.add_hline(y=0, line_width=1, line_dash="dot")
    kind = "log" if _is_wide(table) else "linear"
    chart.update_xaxes(
        title=cost_label(table), type=kind, range=_reach(table, 0.1 if many else 0.3), dtick=DTICK.get(kind)
    )
    chart.update_yaxes(title="gain over its control in points")
    chart.update_layout(showlegend=many)
    return chart


def _controls(row: Compared, by_arm: dict[tuple[str, str], Compared]) -> list[Compared]:
    """Its controls in its own study: another study's arm of the same name may have been trained otherwise."""
    found = [by_arm.get((row.parent, name)) for name in controls_of(row)]
    return [control for control in found if control is not None and control.name != row.name]


def _gain(row: Compared, controls: Sequence[Compared]) -> tuple[str, float, float]:
    """Over which control, in points, and half the width of the interval."""
    gaps = {control.arm: row.metric(ACCURACY) - control.metric(ACCURACY) for control in controls}
    strongest = min(gaps, key=gaps.__getitem__, default="")
    if math.isnan(row.effect):
        return strongest, 100 * gaps[strongest], math.nan
    names = controls_of(row)
    if len(names) > 1:
        # The one that the test was against need not be among the rows.
        is_here = strongest and math.isclose(gaps[strongest], row.effect, abs_tol=SAME)
        names = [strongest if is_here else f"the strongest of {', '.join(names)}"]
    return ", ".join(names), 100 * row.effect, 100 * row.effect_ci


def _comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Costs of the same kind: where one arm does not tell what its choosing cost, no arm's choosing counts."""
    return table if table["choosing"].notna().all() else table.assign(cost=table["training"])


def _is_wide(table: pd.DataFrame) -> bool:
    return len(table) > 0 and table["cost"].min() > 0 and bool(table["cost"].max() >= LOG_FROM * table["cost"].min())


def _reach(table: pd.DataFrame, right: float) -> list[float] | None:
    """The range of the costs with so much room at the right; of a logarithmic axis in powers of ten."""
    if table.empty:
        return None
    ends = [float(table["cost"].min()), float(table["cost"].max())]
    low, high = map(math.log10, ends) if _is_wide(table) else ends
    room = (high - low) or abs(high) or 1.0
    return [low - 0.1 * room, high + right * room]


def _told(line: Mapping[Any, Any]) -> str:
    spread = "" if math.isnan(line["gain_ci"]) else f" ± {line['gain_ci']:.1f}"
    gain = f"{line['gain']:+.1f}{spread} points over {line['control']}" if line["control"] else "control"
    choosing = "not told" if math.isnan(line["choosing"]) else f"{line['choosing']:.1f} s"
    return plotly_text(f"{line['arm']}: {gain}") + f"<br>choosing {choosing}, training {line['training']:.1f} s a seed"
