"""How well each estimator predicts what models of subsets do."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from winnow.report.canvas import blank, colors, drawn, styled
from winnow.verification.datamodels import ALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_datamodels(scores: pl.DataFrame) -> "Figure":
    """Each estimator's linear datamodeling score, over all domains and for each, with 95 % intervals."""
    estimators = scores["estimator"].unique(maintain_order=True).to_list()
    domains = [ALL, *(name for name in scores["domain"].unique(maintain_order=True) if name != ALL)]
    with styled([*estimators, *domains]) as text:
        figure = blank(8, 1.4 + len(estimators) * max(0.5, 0.14 * len(domains)))
        axes = figure.subplots()
        axes.axvline(0, color="tab:red", linestyle=":", linewidth=1.2)
        for number, (domain, color) in enumerate(zip(domains, ["black", *colors(len(domains) - 1)], strict=True)):
            part = scores.filter(pl.col("domain") == domain)
            score, low, high = (part[name].to_numpy() for name in ("lds", "low", "high"))
            places = np.arange(part.height) + ((number + 0.5) / len(domains) - 0.5) * 0.7
            # A bootstrap's interval may leave out the value itself.
            bars = np.clip([score - low, high - score], 0, None)
            axes.errorbar(score, places, xerr=bars, fmt="o", capsize=3, markersize=4, label=text[domain], color=color)
        axes.set_yticks(range(len(estimators)), [text[name] for name in estimators])
        axes.invert_yaxis()
        axes.set_xlabel(f"linear datamodeling score, {scores['subsets'][0]} subsets, 95 % interval")
        axes.legend(title="domain", bbox_to_anchor=(1.02, 1), loc="upper left")
        return drawn(figure)
