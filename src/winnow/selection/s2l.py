"""The strategy `s2l`: as many rows from every cluster of loss trajectories as from any other, as far as they go."""

import numpy as np
import pandas as pd

from winnow.params import BudgetParams, S2lParams
from winnow.selection.budget import rows_allowed
from winnow.selection.everything import ranked


def rank_by_clusters(
    pool: pd.DataFrame, clusters: pd.DataFrame, budget: BudgetParams, params: S2lParams, seed: int
) -> pd.DataFrame:
    """Rank ``pool``: first what S2L draws at this budget, then the rest at random.

    ``clusters`` has the columns example_id, subset and s2l_cluster.
    """
    pool = pool.merge(clusters[["example_id", "s2l_cluster"]], on="example_id", validate="one_to_one")
    pool = pool.sort_values("example_id", ignore_index=True)
    rows = rows_allowed(pool, budget, lambda count: _drawn(pool, count, params, seed))
    chosen = _drawn(pool, rows, params, seed)
    rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(pool)), chosen))
    order = np.concatenate([chosen, rest])
    table = ranked(pool["example_id"].iloc[order])
    names = pool["subset"] + "/" + pool["s2l_cluster"].astype(str)
    return table.assign(cluster=names.iloc[order].to_numpy())


def _drawn(pool: pd.DataFrame, budget: int, params: S2lParams, seed: int) -> np.ndarray:
    """Places of the rows that S2L takes."""
    random = np.random.default_rng(seed)
    subsets = pool.groupby("subset", sort=True).indices
    quotas = share_out({str(name): len(places) for name, places in subsets.items()}, budget)
    drawn = [
        _draw_from(np.asarray(places), pool["s2l_cluster"].to_numpy()[places], quotas[str(name)], params.tiny, random)
        for name, places in subsets.items()
    ]
    return np.concatenate(drawn).astype(np.int64)


def share_out(sizes: dict[str, int], budget: int) -> dict[str, int]:
    """Give each its even share of what is left, from the smallest on; one that is smaller gives all it has."""
    left, quotas = budget, {}
    for number, name in enumerate(sorted(sizes, key=lambda name: (sizes[name], name))):
        quotas[name] = min(sizes[name], left // (len(sizes) - number))
        left -= quotas[name]
    return quotas


def _draw_from(
    places: np.ndarray, clusters: np.ndarray, wanted: int, tiny: int, random: np.random.Generator
) -> np.ndarray:
    """Draw evenly from the clusters of one subset; tiny clusters, and then all others, fill what is short."""
    shuffled = random.permutation(len(places))
    members = {str(name): shuffled[clusters[shuffled] == name] for name in np.unique(clusters)}
    sizes = {name: len(rows) for name, rows in members.items()}
    quotas = share_out({name: size for name, size in sizes.items() if size > tiny}, wanted)
    taken = [members[name][:quota] for name, quota in quotas.items()]
    taken += [members[name] for name, size in sorted(sizes.items()) if size <= tiny]
    taken += [members[name][quota:] for name, quota in quotas.items()]
    return np.asarray(places[np.concatenate(taken)[:wanted]])
