"""The strategy `random`: the control every other one has to beat."""

import numpy as np
import pandas as pd

from winnow.selection.everything import ranked


def rank_at_random(pool: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rank the examples of ``pool`` in a random order that depends on their ids and the seed, not on their order."""
    ids = pool["example_id"].sort_values(ignore_index=True)
    order = np.random.default_rng(seed).permutation(len(ids))
    return ranked(ids.iloc[order])
