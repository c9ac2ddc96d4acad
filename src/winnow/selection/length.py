"""The strategy `length`: random, but as long as the validation examples are.

Many selection scores follow length. This arm has the length and nothing else, so what beats it found something more.
"""

import numpy as np
import pandas as pd

from winnow.selection.everything import ranked

BINS = 10
STREAM = 1


def rank_by_validation_length(pool: pd.DataFrame, validation: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rank ``pool`` at random such that every prefix has the length distribution of ``validation``.

    Lengths are binned at the validation set's deciles. The j-th random member of a bin that holds the share s of the
    validation set stands at (j + u) / s, u uniform in [0, 1): so bins are drawn in proportion until one is used up.
    Examples outside the validation set's range come last.
    """
    edges = np.unique(np.quantile(validation["n_tokens"], np.linspace(0, 1, BINS + 1)))
    edges[0] -= 1  # the shortest validation example belongs to the first bin, shorter ones to none
    shares = np.bincount(np.searchsorted(edges, validation["n_tokens"]), minlength=len(edges) + 1) / len(validation)

    pool = pool.sort_values("example_id", ignore_index=True)
    # Of its own stream: with that of the strategy `random`, which it is compared with, it would share most rows.
    random = np.random.default_rng([seed, STREAM])
    shuffled = pool.iloc[random.permutation(len(pool))].reset_index(drop=True)
    bins = pd.Series(np.searchsorted(edges, shuffled["n_tokens"]))
    place_in_bin = bins.groupby(bins).cumcount() + random.random(len(shuffled))
    with np.errstate(divide="ignore"):
        position = place_in_bin / shares[bins]
    order = np.argsort(position, kind="stable")
    in_pool = np.bincount(bins, minlength=len(shares)) / len(shuffled)
    weight = pd.Series((shares / np.maximum(in_pool, 1e-12))[bins.iloc[order]])
    return ranked(shuffled["example_id"].iloc[order], weight=weight)
