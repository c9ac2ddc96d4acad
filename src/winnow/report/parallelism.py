"""The table of what methods and engines cost, and its figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from winnow.report.canvas import blank, colors, drawn, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTINGS = ["framework", "method", "engine", "processes", "log", "status"]
COSTS = [
    "step_seconds",
    "tokens_per_second",
    "supervised_tokens_per_second",
    "peak_memory_gb",
    "memory_sum_gb",
    "startup_seconds",
    "seconds",
    "trainable_parameters",
    "loss",
]
LAST = ["batch", "micro_batch", "threads", "device", "reason", "file"]
SHOWN = {
    "tokens_per_second": "tokens per second, all processes",
    "peak_memory_gb": "peak memory in GB, fullest process",
}
NOT_MEASURED = {"impossible": "impossible", "failed": "failed"}


def parallelism_table(settings: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """A row per cell or log, in the order given; what was not measured has its reason, and no number."""
    rows = [
        {**said, **{name.removeprefix("cost/"): value for name, value in found.items()}}
        for said, found in zip(settings, costs, strict=True)
    ]
    whole = ["processes", "trainable_parameters", "batch", "micro_batch", "threads"]
    return pd.DataFrame(rows, columns=[*SETTINGS, *COSTS, *LAST]).astype(dict.fromkeys(whole, "Int64")).round(4)


def draw_parallelism(table: pd.DataFrame) -> "Figure":
    """Speed and memory by method and engine, a group of bars per method; other trainers' logs have a bar each."""
    methods = [str(name) for name in table["method"].dropna().unique()]
    engines = [str(name) for name in table["engine"].dropna().unique()]
    logs = table[table["log"].notna()]
    with styled([*logs["log"], *methods]) as text:
        places = len(methods) * (len(engines) + 1) + len(logs)
        figure = blank(max(6.0, 2 + 0.42 * places), 6.5)
        panels = figure.subplots(len(SHOWN), 1, sharex=True)
        # Logs stand behind the groups, as wide as one bar each.
        wide = 1 / (len(engines) + 1)
        ticks = [(number + (len(engines) - 1) / 2 * wide, name) for number, name in enumerate(methods)]
        ticks += [
            (len(methods) + 2 * number * wide, f"{text[str(row['log'])]}\n{row['framework']}")
            for number, (_, row) in enumerate(logs.iterrows())
        ]
        for panel, (column, label) in zip(panels, SHOWN.items(), strict=True):
            for number, (engine, color) in enumerate(zip(engines, colors(len(engines)), strict=True)):
                part = table[table["engine"] == engine].set_index("method").reindex(methods)
                _bars(
                    panel, [place + number * wide for place in range(len(methods))], part, column, wide, color, engine
                )
            _bars(panel, [place for place, _ in ticks[len(methods) :]], logs, column, wide, "0.6", "another trainer")
            panel.set_ylabel(label)
            panel.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
            panel.tick_params(labelbottom=True)
            panel.grid(False, axis="x")
        panels[0].legend(title="engine", bbox_to_anchor=(1.01, 1), loc="upper left")
        return drawn(figure)


def _bars(
    panel: Any, places: Sequence[float], part: pd.DataFrame, column: str, wide: float, color: Any, label: str
) -> None:
    """Bars, and in the place of one that is missing, why."""
    if not len(part):
        return
    heights = part[column].astype(float).to_numpy()
    panel.bar(places, heights, width=0.9 * wide, color=color, label=label)
    for place, status, height in zip(places, part["status"], heights, strict=True):
        why = "" if height == height else NOT_MEASURED.get(str(status), "not known")
        at = {"ha": "center", "va": "bottom", "transform": panel.get_xaxis_transform()}
        panel.text(place, 0.01, why, rotation=90, fontsize=8, color="0.35", **at)
