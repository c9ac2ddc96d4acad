"""How values of several groups are spread: a histogram for each on a line of its own, with its median."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from winnow.report.canvas import colors

BINS = 60
MIDDLE = (0.005, 0.995)


def draw_spread(axes: Any, values: np.ndarray, edges: np.ndarray, base: float) -> None:
    """A histogram that stands on ``base`` and is less than 1 high, and its median as a line and a number."""
    counts, _ = np.histogram(values, edges)
    heights = 0.85 * counts / max(1, counts.max())
    axes.stairs(base + heights, edges, baseline=base, fill=True, color=colors(1)[0], alpha=0.55)
    median = float(np.median(values))
    axes.plot([median, median], [base, base + 0.85], color="black", linewidth=1.4)
    right = median < (edges[0] + edges[-1]) / 2
    axes.annotate(
        f"{median:.3f}",
        (median, base + 0.62),
        xytext=(4 if right else -4, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=8,
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8},
    )


def bins(values: Sequence[np.ndarray]) -> np.ndarray:
    """Bins over the middle of every subset: a few odd rows do not squeeze the others."""
    low, high = np.quantile(values[0], MIDDLE)
    for part in values[1:]:
        first, last = np.quantile(part, MIDDLE)
        low, high = min(low, first), max(high, last)
    margin = 0.02 * (high - low) or 0.01
    return np.linspace(low - margin, high + margin, BINS + 1)
