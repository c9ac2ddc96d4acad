"""What a budget allows: the longest prefix of a ranking that fits."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from winnow.errors import NothingToTrainOn
from winnow.params import BudgetParams
from winnow.selection.repeats import IsRepeat


def take(
    weights: pd.DataFrame, pool: pd.DataFrame, budget: BudgetParams | None, is_repeat: IsRepeat | None = None
) -> pd.DataFrame:
    """Turn one seed's ranking into a training mix (example_id, multiplicity); ``None`` takes everything.

    ``pool`` (a `lengths` table) tells the tokens of each example; a share is of the pool's rows. Repeats are passed
    over, and the budget filled with what comes next. A row that is ranked several times is taken as often.
    """
    best_first = weights.sort_values("rank", ignore_index=True)
    if budget is not None and is_repeat is not None:
        best_first = best_first[_distinct(best_first, pool, budget, is_repeat)].reset_index(drop=True)
    count = len(best_first) if budget is None else _rows_that_fit(best_first, pool, budget)
    if count == 0:
        raise NothingToTrainOn(
            f"The budget {budget and budget.model_dump(exclude_none=True)} takes no row of a pool of {len(pool)}. "
            "Raise `budget.rows`, `budget.tokens` or `budget.share`."
        )
    taken = best_first.head(count).groupby("example_id", sort=False).size()
    return taken.rename("multiplicity").reset_index()


def _distinct(best_first: pd.DataFrame, pool: pd.DataFrame, budget: BudgetParams, is_repeat: IsRepeat) -> np.ndarray:
    """Whether each row is new, up to the one that fills the budget; what comes after is not looked at."""
    sizes = np.ones(len(best_first)) if budget.tokens is None else _tokens(best_first, pool).to_numpy()
    left = budget.tokens or _rows(len(pool), budget)
    new = np.zeros(len(best_first), bool)
    for place, name in enumerate(best_first["example_id"]):
        if left <= 0:
            break
        if not is_repeat(name):
            new[place] = True
            left -= sizes[place]
    return new


def rows_allowed(pool: pd.DataFrame, budget: BudgetParams, draw: Callable[[int], np.ndarray]) -> int:
    """How many rows a strategy may take that draws others for each number; ``draw`` gives their places in ``pool``."""
    if budget.tokens is None:
        return _rows(len(pool), budget)
    tokens = pool["n_tokens"].to_numpy()
    least, most = 0, len(pool)
    while least < most:
        middle = (least + most + 1) // 2
        fits = tokens[draw(middle)].sum() <= budget.tokens
        least, most = (middle, most) if fits else (least, middle - 1)
    return least


def _rows_that_fit(best_first: pd.DataFrame, pool: pd.DataFrame, budget: BudgetParams) -> int:
    if budget.tokens is None:
        return min(len(best_first), _rows(len(pool), budget))
    return int((_tokens(best_first, pool).cumsum() <= budget.tokens).sum())


def _tokens(best_first: pd.DataFrame, pool: pd.DataFrame) -> pd.Series:
    return pool.set_index("example_id")["n_tokens"].loc[best_first["example_id"]]


def _rows(available: int, budget: BudgetParams) -> int:
    if budget.share is not None:
        return math.floor(budget.share * available)
    return min(available, budget.rows or 0)
