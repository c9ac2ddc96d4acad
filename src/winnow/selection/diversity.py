"""The strategy `embedding_diversity`: rows that lie as far as can be from those taken before."""

import numpy as np
import pandas as pd
import polars as pl

from winnow.selection.everything import ranked


def rank_by_distance(pool: pd.DataFrame, order: pl.DataFrame, seed: int) -> pd.DataFrame:
    """Rank ``pool``: first the rows of ``order`` (example_id, distance) as they come, then the rest at random."""
    chosen = order["example_id"].to_list()
    rest = np.setdiff1d(pool["example_id"].to_numpy(dtype=str), np.array(chosen, dtype=str))
    rest = np.random.default_rng(seed).permutation(rest)
    score = np.append(order["distance"].to_numpy(), np.full(len(rest), np.nan))
    return ranked(pd.Series([*chosen, *rest.tolist()], dtype="str"), score=pd.Series(score))
