"""The strategies `select_moe` and `select_moe_diverse`: the rows whose tokens a trained router throws away least.

Some kinds of text may be thrown away less than others, so that the best rows are all alike. The diverse strategy
clusters rows by the experts that their tokens go to, and every cluster gives in turn.
"""

import numpy as np
import pandas as pd
import polars as pl

from winnow.errors import BadInput
from winnow.selection.everything import ranked

ITERATIONS = 25


def rank_by_quality(quality: pl.DataFrame) -> pd.DataFrame:
    """Rank the scored rows (example_id, quality) from the highest quality to the lowest."""
    require_finite(quality)
    best = quality.sort("quality", "example_id", descending=[True, False])
    return ranked(best["example_id"].to_pandas(), score=best["quality"].to_pandas())


def rank_by_diverse_quality(quality: pl.DataFrame, pooled: np.ndarray, clusters: int, seed: int) -> pd.DataFrame:
    """Rank the scored rows in rounds: in each, every cluster gives its best row that is left, the better rows first.

    ``pooled`` has the mean router probabilities of each row [rows, layers * experts]. Its directions are clustered:
    how much of a row was thrown away in all is left to its quality.
    """
    from winnow.clustering import k_means

    require_finite(quality)
    rows = quality.select("example_id", "quality", place=pl.int_range(pl.len())).sort("example_id")
    directions = _unit_rows(rows["example_id"], pooled[rows["place"].to_numpy()])
    labels = k_means(directions, min(clusters, rows.height), ITERATIONS, seed).labels
    rows = rows.with_columns(cluster=pl.Series(labels)).sort("quality", "example_id", descending=[True, False])
    rows = rows.with_columns(round=pl.int_range(pl.len()).over("cluster"))
    rows = rows.sort("round", "quality", "example_id", descending=[False, True, False])
    table = ranked(rows["example_id"].to_pandas(), score=rows["quality"].to_pandas())
    return table.assign(cluster=rows["cluster"].cast(pl.String).to_pandas())


def require_finite(quality: pl.DataFrame) -> None:
    """Refuse a quality that is no number, by the name of its row."""
    _refuse(quality.filter(~pl.col("quality").is_finite().fill_null(False))["example_id"], "quality", quality.height)


def _unit_rows(ids: pl.Series, pooled: np.ndarray) -> np.ndarray:
    """Rows of length 1, for which k-means goes by cosines; a row of zeros stays one."""
    points = pooled.astype(np.float32)
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    _refuse(ids.filter(pl.Series(~np.isfinite(norms[:, 0]))), "mean routing", len(ids))
    points /= np.maximum(norms, np.finfo(np.float32).tiny)
    return points


def _refuse(bad: pl.Series, what: str, rows: int) -> None:
    if len(bad):
        raise BadInput(
            f"The {what} of {len(bad)} of {rows} rows is no number; the first is {bad.min()!r}. The routers diverged: "
            "lower `select_moe.warmup.lr`, or set `select_moe.dtype: fp32`."
        )
