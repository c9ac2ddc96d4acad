"""The strategy `less`: the rows whose gradients point most where a target's do, all targets in turn."""

import pandas as pd
import polars as pl

from winnow.influence.ranking import Aggregate, chosen_target, round_robin, target_scores
from winnow.selection.everything import ranked


def rank_by_influence(scores: pl.DataFrame, aggregate: Aggregate, target: str = "") -> pd.DataFrame:
    """Rank the scored examples for one target, or round-robin for all; `cluster` names the target that took a row.

    ``scores`` has example_id and a column per subtask; rows that have no score are not ranked.
    """
    found = chosen_target(target_scores(scores, aggregate), target)
    names = list(found)
    order, by = round_robin(list(found.values()))
    score = [found[names[column]][row] for row, column in zip(order.tolist(), by.tolist(), strict=True)]
    table = ranked(scores["example_id"].to_pandas().iloc[order], score=pd.Series(score))
    return table.assign(cluster=[names[column] for column in by])
