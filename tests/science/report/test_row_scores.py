"""The figure of baseline scores draws any number of groups; rankings are held to planted truth."""

import io

import numpy as np
import polars as pl
import pytest

from winnow.report.row_scores import draw_row_scores, ends_of, separations
from winnow.selection import rank_by_perplexity


def scored(rows: int, groups: int) -> pl.DataFrame:
    random = np.random.default_rng(0)
    return pl.DataFrame({
        "example_id": [f"e{number:04}" for number in range(rows)],
        "subset": [f"s_$1$_{number % groups}" for number in range(rows)],
        "loss": np.linspace(0, 9, rows).astype(np.float32),
        "ifd": random.random(rows) + 0.5,
    })  # fmt: skip


@pytest.mark.parametrize("groups", [1, 3, 40])
def test_any_number_of_groups_is_drawn_and_values_that_are_none_are_left_out(groups: int):
    table = scored(200, groups).with_columns(ifd=pl.when(pl.col("subset") != "s_$1$_0").then("ifd"))
    table = table.with_columns(loss=pl.when(pl.col("example_id") != "e0003").then("loss").otherwise(float("nan")))
    figure = draw_row_scores(table, "subset")
    written = io.BytesIO()
    figure.savefig(written, format="png")
    assert len(written.getvalue()) > 1000
    assert len(figure.axes[0].get_yticklabels()) == min(groups, 30)
    assert (figure.get_suptitle() == "the 30 largest of 40") == (groups == 40)


def test_a_ranking_that_puts_planted_rows_last_separates_them():
    table = scored(40, 1)
    truth = pl.DataFrame({"example_id": table["example_id"], "kind": ["clean"] * 20 + ["wrong"] * 20})
    low, high = (
        separations({"arm": rank_by_perplexity(table, which)}, truth).row(0, named=True) for which in ("low", "high")
    )
    assert (low["arm"], low["kind"], low["auc"]) == ("arm", "wrong", 1.0)
    assert low["verdict"].startswith("separates: rows wrong are ranked after clean ones")
    assert high["auc"] == 0.0
    assert high["verdict"].startswith("worse than chance: rows wrong are ranked before clean ones")


def test_both_ends_of_each_ranking_have_their_text():
    table = scored(30, 1)
    said = [[{"role": "user", "content": f"say {name}"}] for name in table["example_id"]]
    train = pl.DataFrame({"example_id": table["example_id"], "messages": said}).lazy()
    ends = ends_of({arm: rank_by_perplexity(table, arm) for arm in ("low", "high")}, train)
    assert ends.groupby("arm").size().to_dict() == {"low": 10, "high": 10}
    assert ends["text"][0] == "user: say e0000"
    assert ends[ends["arm"] == "high"]["text"].iloc[0] == "user: say e0029"
