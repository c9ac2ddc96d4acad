"""What a budget allows: the longest prefix of a ranking that fits."""

import math

import pandas as pd

from winnow.errors import NothingToTrainOn
from winnow.params import BudgetParams


def take(weights: pd.DataFrame, pool: pd.DataFrame, budget: BudgetParams | None) -> pd.DataFrame:
    """Turn one seed's ranking into a training mix (example_id, multiplicity); ``None`` takes everything.

    ``pool`` (a `lengths` table) tells the tokens of each example; a share is of the pool's rows.
    """
    best_first = weights.sort_values("rank", ignore_index=True)
    count = len(best_first) if budget is None else _rows_that_fit(best_first, pool, budget)
    if count == 0:
        raise NothingToTrainOn(
            f"The budget {budget and budget.model_dump(exclude_none=True)} takes no row of a pool of {len(pool)}. "
            "Raise `budget.rows`, `budget.tokens` or `budget.share`."
        )
    return pd.DataFrame({"example_id": best_first["example_id"].head(count), "multiplicity": 1})


def _rows_that_fit(best_first: pd.DataFrame, pool: pd.DataFrame, budget: BudgetParams) -> int:
    if budget.share is not None:
        return min(len(best_first), math.floor(budget.share * len(pool)))
    if budget.rows is not None:
        return min(len(best_first), budget.rows)
    tokens = pool.set_index("example_id")["n_tokens"].loc[best_first["example_id"]].cumsum()
    return int((tokens <= budget.tokens).sum())
