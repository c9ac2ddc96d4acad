"""A mixture of clusters in given shares: exact counts, whole copies first, the rest drawn without replacement."""

import numpy as np
import pandas as pd

from winnow.params import BudgetParams
from winnow.selection.budget import rows_allowed
from winnow.selection.everything import ranked


def rank_by_shares(
    pool: pd.DataFrame, clusters: pd.DataFrame, shares: dict[str, float], budget: BudgetParams, seed: int
) -> pd.DataFrame:
    """Rank ``pool``: first the mixture of this budget, where a row may stand several times, then the rest at random.

    ``clusters`` has example_id and cluster; a row of no cluster is in no mixture.
    """
    pool = pool.merge(clusters[["example_id", "cluster"]], on="example_id", validate="one_to_one")
    pool = pool.sort_values("example_id", ignore_index=True)
    members = {str(name): np.asarray(places) for name, places in pool.groupby("cluster").indices.items()}

    def draw(count: int) -> np.ndarray:
        counts = largest_remainder(np.array([shares[name] for name in members]), count)
        drawn = [
            copies(places, number, np.random.default_rng([seed, place]))
            for place, (places, number) in enumerate(zip(members.values(), counts, strict=True))
        ]
        return np.concatenate(drawn).astype(np.int64)

    chosen = draw(rows_allowed(pool, budget, draw))
    rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(pool)), chosen))
    order = np.concatenate([chosen, rest])
    table = ranked(pool["example_id"].iloc[order])
    return table.assign(cluster=pool["cluster"].iloc[order].to_numpy())


def largest_remainder(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers [n] in proportion to ``shares`` that sum to ``total``; equal remainders by their place."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def copies(places: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """``count`` of ``places``: each as often as they go into it, and some of them once more."""
    whole, more = divmod(int(count), len(places))
    return np.concatenate([np.repeat(places, whole), np.sort(random.permutation(places)[:more])])
