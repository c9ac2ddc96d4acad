"""The rows that an arm ranked highest and lowest, with their text, and how many of each subset it trained on."""

import pandas as pd
import polars as pl

from winnow.records.shapes import Message
from winnow.report.compared import CHOSEN, EXAMPLES

EACH_END = 20
LONGEST = 1500


def ranked_examples(weights: pd.DataFrame, mix: pd.DataFrame, train: pl.LazyFrame) -> pd.DataFrame:
    """Both ends of the first seed's ranking: rank from 1, score, how often it is trained on, id, and text.

    ``weights`` has example_id, score, rank and seed, ``mix`` example_id, multiplicity and seed.
    """
    ranking = _of_first_seed(weights).sort_values("rank", ignore_index=True)
    both = min(EACH_END, len(ranking)), max(EACH_END, len(ranking) - EACH_END)
    shown = pd.concat([ranking.iloc[: both[0]].assign(end="top"), ranking.iloc[both[1] :].assign(end="bottom")])
    times = _of_first_seed(mix).groupby("example_id")["multiplicity"].sum()
    texts = _texts(shown["example_id"], train)
    shown = shown.assign(
        rank=shown["rank"] + 1,
        times=shown["example_id"].map(times).fillna(0).astype(int),
        text=shown["example_id"].map(texts).fillna(""),
    )
    return shown[EXAMPLES].reset_index(drop=True)


def rows_by_subset(mix: pd.DataFrame, train: pl.LazyFrame) -> dict[str, float]:
    """Rows of each subset that are trained on, repeats counted, the mean over seeds; under the tracker's names."""
    subsets = train.select("example_id", "subset").collect()
    seeds = mix["seed"].nunique()
    taken = pl.from_pandas(mix[["example_id", "multiplicity"]]).join(subsets, on="example_id")
    sums = taken.group_by("subset").agg(pl.col("multiplicity").sum()).sort("subset")
    found = dict.fromkeys(subsets["subset"].unique().sort(), 0.0)
    found |= {subset: rows / seeds for subset, rows in sums.iter_rows()}
    return {f"{CHOSEN}{subset}": float(rows) for subset, rows in found.items()}


def _of_first_seed(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["seed"] == table["seed"].min()]


def _texts(ids: pd.Series, train: pl.LazyFrame) -> dict[str, str]:
    chosen = train.filter(pl.col("example_id").is_in(ids.unique().tolist())).select("example_id", "messages")
    return {name: _excerpt(messages) for name, messages in chosen.collect().iter_rows()}


def _excerpt(messages: list[Message]) -> str:
    """All messages, each cut so that the whole stays readable: the answer too."""
    room = LONGEST // max(1, len(messages))
    parts = [f"{message['role']}: {message['content']}" for message in messages]
    return "\n\n".join(part if len(part) <= room else part[:room] + " ..." for part in parts)
