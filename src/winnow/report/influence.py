"""How far scores can be trusted: agreement of checkpoints, dependence on length, errors of the store, odd rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from winnow.report.canvas import blank, colors, drawn, logarithmic, styled
from winnow.report.excerpts import both_ends, with_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 3000
MOST_TARGETS = 6
MOST_NAMES = 100
MOST_ROWS = 50_000


def diagnose(
    tables: Mapping[str, pl.DataFrame],
    weights: Mapping[str, float],
    ids: pl.Series,
    scores: Mapping[str, np.ndarray],
    lengths: pl.DataFrame,
    certificates: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """One measure a row: what is measured, of what, and its value.

    ``lengths`` has example_id and n_supervised of every row that was to be scored; those without a score are named.
    """
    rows: list[tuple[str, str, float]] = [("checkpoint weight", step, weight) for step, weight in weights.items()]
    for pair, value in agreement(tables).items():
        rows.append(("agreement of checkpoints (Spearman)", " ~ ".join(pair), value))
    length = _lengths(ids, lengths)
    for target, values in scores.items():
        rows.append(("score against length (Spearman)", target, _spearman(values, length)))
    for store, certificate in certificates.items():
        for name, label in _CERTIFIED.items():
            if certificate.get(name) is not None:
                rows.append((label, f"checkpoint {store.replace('@', ', ')} dimensions", float(certificate[name])))
    for step, table in tables.items():
        lost = sorted(set(lengths["example_id"]) - set(table["example_id"]))
        rows.append(("rows without a finite gradient", f"checkpoint {step}", len(lost)))
        rows += [("row without a finite gradient", f"checkpoint {step}: {name}", np.nan) for name in lost[:MOST_NAMES]]
    return pd.DataFrame(rows, columns=["measure", "of", "value"])


_CERTIFIED = {
    "rms_error": "error of a stored cosine (root mean square)",
    "largest_error": "error of a stored cosine (largest)",
    "spread": "spread of the exact cosines (standard deviation)",
    "spearman": "stored against exact cosines (Spearman)",
    "momentum": "momentum share |b1 m| / |(1 - b1) g| (median)",
}


def agreement(tables: Mapping[str, pl.DataFrame]) -> dict[tuple[str, str], float]:
    """Spearman's correlation of each pair of checkpoints, as the mean over subtasks; of many rows, a random sample."""
    steps = list(tables)
    found = {}
    for number, one in enumerate(steps):
        for other in steps[number + 1 :]:
            both = tables[one].join(tables[other], on="example_id", suffix="\0")
            both = both.sample(min(both.height, MOST_ROWS), seed=0)
            names = [name for name in tables[one].columns if name != "example_id"]
            values = [_spearman(both[name].to_numpy(), both[name + "\0"].to_numpy()) for name in names]
            found[one, other] = float(np.mean(values))
    return found


def draw_diagnostics(
    tables: Mapping[str, pl.DataFrame], ids: pl.Series, scores: Mapping[str, np.ndarray], lengths: pl.DataFrame
) -> "Figure":
    """Scores of each target, scores against length, and how far the checkpoints agree."""
    shown = dict(list(scores.items())[:MOST_TARGETS])
    length = _lengths(ids, lengths)
    sample = np.random.default_rng(0).permutation(len(length))[:MOST_POINTS]
    with styled(shown) as text:
        figure = blank(13, 4)
        spread, against, agreeing = figure.subplots(1, 3)
        for color, (target, values) in zip(colors(len(shown)), shown.items(), strict=True):
            spread.hist(values, bins=60, histtype="step", color=color, label=text[target])
            against.plot(length[sample], values[sample], ".", markersize=2, alpha=0.4, color=color)
        spread.set(xlabel="score", ylabel="rows", title="scores of each target")
        spread.legend(title="target")
        against.set(xlabel="supervised tokens", ylabel="score", title="score against length")
        logarithmic(against)
        _draw_agreement(figure, agreeing, tables)
        return drawn(figure)


def _draw_agreement(figure: Any, axes: Any, tables: Mapping[str, pl.DataFrame]) -> None:
    steps = list(tables)
    matrix = np.eye(len(steps))
    for (one, other), value in agreement(tables).items():
        matrix[steps.index(one), steps.index(other)] = matrix[steps.index(other), steps.index(one)] = value
    picture = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
    for row, column in np.ndindex(matrix.shape):
        shade = "white" if abs(matrix[row, column]) > 0.7 else "black"
        axes.text(column, row, f"{matrix[row, column]:.2f}", ha="center", va="center", color=shade)
    axes.set_xticks(range(len(steps)), steps)
    axes.set_yticks(range(len(steps)), steps)
    axes.grid(False)
    axes.set(xlabel="checkpoint", ylabel="checkpoint", title="agreement of checkpoints (Spearman)")
    figure.colorbar(picture, ax=axes, shrink=0.8)


def extreme_examples(ids: pl.Series, scores: Mapping[str, np.ndarray], train: pl.LazyFrame) -> pd.DataFrame:
    """The best and the worst rows of each target, with the beginning of their text."""
    rows = []
    for target, values in scores.items():
        order = np.argsort(-values, kind="stable")
        for place in both_ends(len(order)):
            row = int(order[place])
            rows.append({"target": target, "rank": place, "score": float(values[row]), "example_id": ids[row]})
    return with_text(pl.DataFrame(rows), train)


def _lengths(ids: pl.Series, lengths: pl.DataFrame) -> np.ndarray:
    table = pl.DataFrame({"example_id": ids}).join(lengths, on="example_id", how="left", maintain_order="left")
    return table["n_supervised"].to_numpy()


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """NaN where one of them does not vary."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else float("nan")
