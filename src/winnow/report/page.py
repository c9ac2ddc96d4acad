"""The comparison as one HTML file: nothing is fetched, everything that a row says is escaped.

The file holds plotly.js once (4.8 MB) and works where it is opened: from disk, from MLflow's frame, by mail.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from winnow.report.compared import (
    ACCURACY,
    ACCURACY_CI,
    CHOSEN,
    EXAMPLES,
    LOSS,
    MEMORY,
    SECONDS,
    SPEED,
    Compared,
    benchmarks_of,
    best_first,
    differing,
    domains_of,
    error_of,
)
from winnow.report.gain_cost import MOST_NAMES, gain_chart, plotly_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

NOT_KNOWN = ""
PARAMETER = "parameter"
PLACES = {"top": ("highest", "first"), "bottom": ("lowest", "last")}


@dataclass(frozen=True)
class Page:
    """What is shown: the arms, the settings that all of them share, and what a reader has to be warned of."""

    title: str
    rows: Sequence[Compared]
    shared: dict[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number it is sorted by, where it is one."""

    text: str
    number: float = math.nan

    @property
    def sort(self) -> str:
        """For the page's script: empty where there is nothing to sort by."""
        return "" if math.isnan(self.number) else json.dumps(self.number)


@dataclass(frozen=True)
class Column:
    """A heading, what it means, and what it shows of an arm."""

    label: str
    meaning: str
    cell: Callable[[Compared], Cell]


def render(page: Page) -> str:
    """The whole file."""
    from jinja2 import Environment, PackageLoader
    from plotly.offline import get_plotlyjs

    rows = best_first(page.rows)
    columns = columns_of(rows)
    apart = set(differing(rows))
    loader = PackageLoader("winnow.report")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("comparison.html.jinja").render(
        title=page.title,
        warnings=page.warnings,
        columns=columns,
        legend=[column for column in columns if column.meaning != PARAMETER],
        lines=[(row, [column.cell(row) for column in columns]) for row in rows],
        verdicts=[row for row in rows if row.verdict],
        figures=_figures(rows),
        examples=[(row.name, line) for row in sorted(rows, key=_has_no_scores) for line in _examples(row)],
        shared={name: value for name, value in sorted(page.shared.items()) if name not in apart},
        plotly=get_plotlyjs(),
    )


def columns_of(rows: Sequence[Compared]) -> list[Column]:
    """The table's columns beside the arm's name: only what is known of some row, and of parameters what differs."""
    measured = [
        Column("all", "accuracy in %, with its 95 % interval", _accuracy("")),
        *(Column(name, f"accuracy on {name} in %", _accuracy(f"/{name}")) for name in domains_of(rows)),
        *(Column(_short(name), name, _benchmark(name)) for name in benchmarks_of(rows)),
        Column("gain", "accuracy over the control's, in points, with its 95 % interval", _gain),
        Column("p", "p-value of no difference, corrected for the number of comparisons (Holm)", _p_value),
        Column("seeds needed", "of each arm to tell a difference of this size, where it is not told yet", _seeds),
        Column("loss", "on the rows evaluated", _metric(LOSS, "{:.4f}")),
        Column("choosing", "seconds of work to choose the rows", _choosing),
        Column(
            "work",
            "seconds of training and evaluation, each process by itself",
            _metric(SECONDS, "{:.0f} s"),
        ),
        Column("memory", "of one process, at its highest", _metric(MEMORY, "{:.2f} GB")),
        Column("tokens/s", "of one process that trains", _metric(SPEED, "{:.0f}")),
    ]
    known = [column for column in measured if any(column.cell(row).text for row in rows)]
    seeds = Column("seeds", "trainings of the arm", lambda row: Cell(str(row.seeds), row.seeds))
    return [seeds, *known, *(Column(name, PARAMETER, _parameter(name)) for name in differing(rows))]


def accuracy_figure(rows: Sequence[Compared]) -> "go.Figure":
    """Accuracy per arm and domain, with intervals."""
    import pandas as pd

    from winnow.report.figures import accuracy_chart

    table = pd.DataFrame({"arm": [plotly_text(row.name) for row in rows]})
    for end in ["", *(f"/{domain}" for domain in domains_of(rows))]:
        table[f"accuracy{plotly_text(end)}"] = [row.metric(f"{ACCURACY}{end}") for row in rows]
        table[f"accuracy_ci{plotly_text(end)}"] = [row.metric(f"{ACCURACY_CI}{end}") for row in rows]
    return accuracy_chart(table)


def subset_figure(rows: Sequence[Compared]) -> "go.Figure | None":
    """The share of each subset in what an arm trained on."""
    import plotly.graph_objects as go

    told = [row for row in rows if any(name.startswith(CHOSEN) for name in row.metrics)]
    if not told:
        return None
    chart = go.Figure()
    for name in sorted({name for row in told for name in row.metrics if name.startswith(CHOSEN)}):
        sums = [sum(value for key, value in row.metrics.items() if key.startswith(CHOSEN)) for row in told]
        taken = [row.metrics.get(name, 0.0) for row in told]
        shares = [100 * rows / total if total else 0.0 for rows, total in zip(taken, sums, strict=True)]
        hover = [f"{rows:.0f} of {total:.0f} rows" for rows, total in zip(taken, sums, strict=True)]
        x = [plotly_text(row.name) for row in told]
        chart.add_bar(name=plotly_text(name.removeprefix(CHOSEN)), x=x, y=shares, hovertext=hover)
    chart.update_layout(barmode="stack", yaxis_title="share of rows in %")
    return chart


def _figures(rows: Sequence[Compared]) -> list[dict[str, Any]]:
    drawn = {
        "Accuracy": ("Per arm and domain, with 95 % intervals.", accuracy_figure(rows)),
        "Gain against cost": (
            "Up is better, left is cheaper; an open mark is a control. An interval is that of one comparison by "
            "itself: one that misses the line at 0 may be chance all the same. The verdicts count all comparisons.",
            gain_chart(rows),
        ),
        "What was trained on": ("Rows of each subset, repeats counted, the mean over seeds.", subset_figure(rows)),
    }
    return [
        {"title": title, "caption": caption, "figure": _plain(figure), "tall": len(rows) > MOST_NAMES}
        for title, (caption, figure) in drawn.items()
        if figure is not None and len(figure.data)
    ]


def _plain(figure: "go.Figure") -> dict[str, Any]:
    """Without a template: the page's own colours, light or dark, are laid over it."""
    from matplotlib.colors import to_hex

    from winnow.report.canvas import colors

    figure.update_layout(template=None, colorway=[to_hex(color) for color in colors(10)])
    return dict(json.loads(figure.to_json()))


def _has_no_scores(row: Compared) -> bool:
    return not bool(row.examples["score"].notna().any())


def _examples(row: Compared) -> list[dict[str, Any]]:
    """For the template; what has no score was put in an order, and is neither high nor low."""
    return [_example(dict(zip(EXAMPLES, line, strict=True))) for line in row.examples[EXAMPLES].itertuples(index=False)]


def _example(line: dict[str, Any]) -> dict[str, Any]:
    scored = not math.isnan(line["score"])
    return {**line, "scored": scored, "place": PLACES[line["end"]][0 if scored else 1]}


def _accuracy(end: str) -> Callable[[Compared], Cell]:
    return lambda row: _percent(row.metric(f"{ACCURACY}{end}"), row.metric(f"{ACCURACY_CI}{end}"))


def _benchmark(name: str) -> Callable[[Compared], Cell]:
    return lambda row: _number_cell(row.metric(name), error_of(row, name), "{:.3f}")


def _gain(row: Compared) -> Cell:
    return _number_cell(100 * row.effect, 100 * row.effect_ci, "{:+.1f}", "{:.1f}")


def _choosing(row: Compared) -> Cell:
    return _number_cell(row.choosing_seconds, math.nan, "{:.0f} s")


def _seeds(row: Compared) -> Cell:
    return Cell(row.seeds_to_tell, row.seeds_needed if row.seeds_to_tell else math.nan)


def _metric(name: str, form: str) -> Callable[[Compared], Cell]:
    return lambda row: _number_cell(row.metric(name), math.nan, form)


def _p_value(row: Compared) -> Cell:
    return _number_cell(row.p_holm, math.nan, "{:.3g}")


def _parameter(name: str) -> Callable[[Compared], Cell]:
    def cell(row: Compared) -> Cell:
        value = row.params.get(name, NOT_KNOWN)
        try:
            return Cell(value, float(value))
        except ValueError:
            return Cell(value)

    return cell


def _percent(value: float, half_width: float) -> Cell:
    return _number_cell(100 * value, 100 * half_width, "{:.1f}")


def _number_cell(value: float, half_width: float, form: str, spread: str = "") -> Cell:
    if math.isnan(value):
        return Cell(NOT_KNOWN)
    reach = "" if math.isnan(half_width) else f" ± {(spread or form).format(half_width)}"
    return Cell(form.format(value) + reach, value)


def _short(name: str) -> str:
    return name.split("/", 1)[1]
