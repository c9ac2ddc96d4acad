"""The strategy `all`: the whole pool, no choice made."""

import pandas as pd


def rank_all(pool: pd.DataFrame) -> pd.DataFrame:
    """Rank every example of ``pool`` (a `lengths` table) by its id."""
    ids = pool["example_id"].sort_values(ignore_index=True)
    return ranked(ids)


def ranked(
    ids: pd.Series, weight: "pd.Series | float" = 1.0, score: "pd.Series | float" = float("nan")
) -> pd.DataFrame:
    """The `weights` table every strategy ends in; ``ids`` come best first."""
    table = pd.DataFrame({"example_id": ids.to_numpy(), "weight": weight, "score": score})
    table["cluster"] = pd.Series([None] * len(table), dtype="str")
    table["rank"] = range(len(table))
    return table
