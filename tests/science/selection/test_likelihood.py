"""Rankings by perplexity and by difficulty, by hand."""

import numpy as np
import polars as pl

from winnow.selection import rank_by_ifd, rank_by_perplexity


def scored(**columns: list[float | None]) -> pl.DataFrame:
    (values,) = columns.values()
    return pl.DataFrame({"example_id": list("abcdefgh")[: len(values)], **columns})


def test_low_and_high_are_the_ends_and_the_middle_comes_from_the_median_outwards():
    table = scored(loss=[5.0, 1.0, 3.0, 100.0, 2.0])
    assert rank_by_perplexity(table, "low")["example_id"].tolist() == ["b", "e", "c", "a", "d"]
    assert rank_by_perplexity(table, "high")["example_id"].tolist() == ["d", "a", "c", "e", "b"]
    assert rank_by_perplexity(table, "mid")["example_id"].tolist() == ["c", "e", "a", "b", "d"]
    assert np.allclose(rank_by_perplexity(table, "low")["score"], np.exp([1.0, 2.0, 3.0, 5.0, 100.0]))


def test_equal_losses_go_by_id_and_rows_without_a_loss_are_not_ranked():
    table = scored(loss=[1.0, float("nan"), 1.0, float("inf"), None])
    assert rank_by_perplexity(table, "low")["example_id"].tolist() == ["a", "c"]
    assert rank_by_perplexity(table, "high")["example_id"].tolist() == ["a", "c"]


def test_difficulty_goes_from_one_downwards_and_then_upwards():
    table = scored(ifd=[0.2, 1.5, 1.0, 0.9, float("nan"), 1.1])
    ranking = rank_by_ifd(table)
    assert ranking["example_id"].tolist() == ["c", "d", "a", "f", "b"]
    assert ranking["score"].tolist() == [1.0, 0.9, 0.2, 1.1, 1.5]
