"""Selected rows in the files that users of LESS know: `<target>/sorted.csv` and `<target>/top_p0.05.jsonl`."""

import csv
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl

from winnow.influence.ranking import Aggregate
from winnow.params import BudgetParams
from winnow.records.chosen import messages_of, write_lines
from winnow.selection.less import rank_by_influence

ALL = "all"


def write_selected(
    folder: Path,
    scores: pl.DataFrame,
    train: pl.LazyFrame,
    aggregate: Aggregate,
    choose: Callable[[pd.DataFrame], pd.DataFrame],
    name: str,
) -> dict[str, int]:
    """Write both files for each target, and for all in turn (`all`), best first; returns the rows of each.

    ``choose`` takes from a ranking what the budget allows; ``name`` is the file for that.
    """
    targets = sorted({column.split("/")[0] for column in scores.columns if column != "example_id"})
    rankings = {ALL: rank_by_influence(scores, aggregate)}
    rankings |= {target: rank_by_influence(scores, aggregate, target) for target in targets if target != ALL}
    chosen = {target: choose(ranking)["example_id"].tolist() for target, ranking in rankings.items()}
    messages = messages_of(train, {example for ids in chosen.values() for example in ids})
    for target, ranking in rankings.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        _write_sorted(folder / target / "sorted.csv", ranking)
        score = dict(zip(ranking["example_id"], ranking["score"], strict=True))
        lines = ({"id": example, "messages": messages[example], "score": score[example]} for example in chosen[target])
        write_lines(folder / target / name, lines)
    return {target: len(ids) for target, ids in chosen.items()}


def top_name(budget: BudgetParams) -> str:
    """The file's name: `top_p0.05` for a share, `top_num100` for rows, `top_tokens5000` for tokens."""
    if budget.share is not None:
        return f"top_p{budget.share:g}.jsonl"
    return f"top_num{budget.rows}.jsonl" if budget.rows is not None else f"top_tokens{budget.tokens}.jsonl"


def _write_sorted(path: Path, ranking: pd.DataFrame) -> None:
    """`file name, index, score`: the id is cut into its two parts."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file name", "index", "score"))
        for example, score in zip(ranking["example_id"], ranking["score"], strict=True):
            name, _, row = example.rpartition(":")
            writer.writerow((name, row, f"{score:.6g}"))
