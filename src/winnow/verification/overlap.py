"""How alike selections are: which rows they have in common, and whether they rank the pool alike.

No pair of rankings is compared one by one: a mean over pairs of seeds of Spearman's correlation is the product of the
two mean vectors of standardised ranks, and all counts of common rows are one product of sparse matrices.
"""

from collections.abc import Mapping
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from winnow.influence.values import Values
from winnow.verification.placed import Placed

DEVIATIONS = 12.0


def overlap_table(arms: Mapping[str, Placed]) -> pd.DataFrame:
    """A row for each pair of arms, and for each arm with itself: its seeds with one another.

    The columns are arm, other, jaccard, by_chance, spearman. Jaccard is the share of the rows chosen by either that
    both choose; ``by_chance`` is what two random choices of these sizes share.
    """
    shared = _jaccards(arms)
    ranks = {name: _standardised(placed.ranks) for name, placed in arms.items()}
    rows = []
    for one, other in combinations_with_replacement(arms, 2):
        if one == other and len(arms[one].ranks) < 2:
            continue
        rows.append((one, other, *shared[one, other], _spearman(ranks[one], ranks[other], one == other)))
    return pd.DataFrame(rows, columns=["arm", "other", "jaccard", "by_chance", "spearman"])


def as_squares(table: pd.DataFrame) -> tuple[Values, Values]:
    """Jaccard and Spearman as squares of arms; an arm of a single seed has no value with itself."""
    names = list(dict.fromkeys([*table["arm"], *table["other"]]))
    squares = []
    for column in ("jaccard", "spearman"):
        values = np.full((len(names), len(names)), np.nan)
        for one, other, value in zip(table["arm"], table["other"], table[column], strict=True):
            first, second = names.index(one), names.index(other)
            values[first, second] = values[second, first] = value
        squares.append(Values(names, names, values, np.zeros_like(values)))
    return squares[0], squares[1]


def jaccard_by_chance(first: int, second: int, pool: int) -> float:
    """The mean Jaccard index of two random sets of these sizes: what they share is hypergeometric."""
    from scipy import stats

    mean = first * second / pool
    reach = DEVIATIONS * mean**0.5 + DEVIATIONS
    low, high = max(0, first + second - pool), min(first, second)
    shared = np.arange(max(low, int(mean - reach)), min(high, int(mean + reach)) + 1)
    chances = stats.hypergeom.pmf(shared, pool, first, second)
    return float((chances * shared / np.maximum(first + second - shared, 1)).sum())


def _jaccards(arms: Mapping[str, Placed]) -> dict[tuple[str, str], tuple[float, float]]:
    """The mean over pairs of seeds, and what chance gives for the mean sizes."""
    from scipy import sparse

    chosen = sparse.vstack([sparse.csr_array(placed.chosen, dtype=np.int32) for placed in arms.values()], "csr")
    common = (chosen @ chosen.T).toarray()
    sizes = common.diagonal()
    whole = common / np.maximum(sizes[:, None] + sizes - common, 1)
    ends = np.cumsum([0, *(len(placed.ranks) for placed in arms.values())])
    places = {name: np.arange(*ends[number : number + 2]) for number, name in enumerate(arms)}
    found = {}
    for one, other in combinations_with_replacement(arms, 2):
        part = whole[np.ix_(places[one], places[other])]
        # An arm with itself: a seed with the other seeds.
        pairs = part[np.triu_indices(len(part), 1)] if one == other else part
        first, second = (round(sizes[places[name]].mean()) for name in (one, other))
        chance = jaccard_by_chance(first, second, chosen.shape[1])
        found[one, other] = float(pairs.mean()) if pairs.size else float("nan"), chance
    return found


def _standardised(ranks: np.ndarray) -> tuple[np.ndarray, int]:
    """The sum over seeds of unit vectors of centred ranks, tied ones at their mean; and the number of seeds."""
    from scipy.stats import rankdata

    total = np.zeros(ranks.shape[1])
    for row in ranks:
        centred = rankdata(row)
        centred -= centred.mean()
        total += centred / max(float(np.linalg.norm(centred)), np.finfo(float).tiny)
    return total, len(ranks)


def _spearman(one: tuple[np.ndarray, int], other: tuple[np.ndarray, int], same: bool) -> float:
    product = float(one[0] @ other[0])
    return (product - one[1]) / (one[1] * (one[1] - 1)) if same else product / (one[1] * other[1])
