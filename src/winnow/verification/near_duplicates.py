"""Rows of a selection that nearly repeat another of its rows, as `selection.deduplicate: near` would pass them over."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from winnow.selection.repeats import IsRepeat
from winnow.verification.placed import Placed
from winnow.verification.seeds import over_seeds


def near_duplicate_table(
    arms: Mapping[str, Placed], pool: Sequence[str], begin: Callable[[], IsRepeat], report: Callable[[int, int], None]
) -> pd.DataFrame:
    """A row for each arm: the share of its different rows that repeat a better one, and its interval over seeds.

    ``begin`` gives a function that is asked of one selection's rows, best first; equal selections are asked once.
    ``report`` hears how many of the selections are done.
    """
    orders = {name: [best_first(placed, seed) for seed in range(len(placed.ranks))] for name, placed in arms.items()}
    different = {order.tobytes(): order for own in orders.values() for order in own}
    shares: dict[bytes, float] = {}
    for number, (key, order) in enumerate(different.items()):
        is_repeat = begin()
        shares[key] = sum(is_repeat(pool[place]) for place in order) / max(1, len(order))
        report(number + 1, len(different))
    found = {name: over_seeds([shares[order.tobytes()] for order in own]) for name, own in orders.items()}
    rows = [(name, share.mean, share.half_width) for name, share in found.items()]
    return pd.DataFrame(rows, columns=["arm", "near_duplicates", "near_duplicates_ci"])


def best_first(placed: Placed, seed: int) -> np.ndarray:
    """Places of the chosen rows, each once, the best ranked first."""
    chosen = np.flatnonzero(placed.chosen[seed])
    return np.asarray(chosen[np.argsort(placed.ranks[seed][chosen], kind="stable")])
