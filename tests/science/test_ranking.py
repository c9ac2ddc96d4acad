"""From score tables to an order of the pool, and from an order to rows without repeats."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from winnow.errors import BadSetting
from winnow.influence.ranking import round_robin, target_scores, weighted_scores
from winnow.params import BudgetParams, SelectionParams
from winnow.records.tokens import TOKENS, TokenTable
from winnow.selection import repeats_of_chosen, take
from winnow.selection.less import rank_by_influence


def test_less_score_matches_the_formula_on_two_checkpoints():
    """S = sum_i eta_i T_i V_i^T, mean within a subtask, max over subtasks: two rows, two subtasks, by hand."""
    tables = {
        "10": pl.DataFrame({"example_id": ["a", "b"], "t/x": [0.5, 0.1], "t/y": [0.0, 0.4]}),
        "20": pl.DataFrame({"example_id": ["b", "a"], "t/x": [0.2, 0.1], "t/y": [0.8, 0.3]}),
    }
    total = weighted_scores(tables, {"10": 0.75, "20": 0.25})
    assert total["example_id"].to_list() == ["a", "b"]
    assert np.allclose(total["t/x"], [0.75 * 0.5 + 0.25 * 0.1, 0.75 * 0.1 + 0.25 * 0.2])
    assert np.allclose(target_scores(total, "max")["t"], [0.4, 0.5])
    assert np.allclose(target_scores(total, "mean")["t"], [(0.4 + 0.075) / 2, (0.125 + 0.5) / 2])
    assert rank_by_influence(total, "max")["example_id"].tolist() == ["b", "a"]


def test_a_row_that_one_checkpoint_could_not_score_has_no_score():
    tables = {"1": pl.DataFrame({"example_id": ["a", "b"], "t/x": [1.0, 2.0]}),
              "2": pl.DataFrame({"example_id": ["b"], "t/x": [1.0]})}  # fmt: skip
    assert weighted_scores(tables, {"1": 0.5, "2": 0.5})["example_id"].to_list() == ["b"]


def test_ties_are_broken_by_the_place_of_the_example():
    scores = pl.DataFrame({"example_id": ["a", "b", "c", "d"], "t/x": [0.5, 0.7, 0.5, 0.7]})
    assert rank_by_influence(scores, "max")["example_id"].tolist() == ["b", "d", "a", "c"]


def test_targets_take_turns_and_pass_over_what_is_taken():
    first = np.array([4.0, 3.0, 2.0, 1.0, 0.0])
    second = np.array([9.0, 0.0, 1.0, 2.0, 8.0])
    order, by = round_robin([first, second])
    assert order.tolist() == [0, 4, 1, 3, 2]
    assert by.tolist() == [0, 1, 0, 1, 0]


def test_a_loud_target_takes_no_more_than_its_turns():
    """A maximum over raw cosines would take only its rows."""
    random = np.random.default_rng(0)
    scores = pl.DataFrame({"example_id": [f"e{n:03}" for n in range(100)], "loud/x": random.random(100) + 5,
                           "low/x": random.random(100)})  # fmt: skip
    ranking = rank_by_influence(scores, "max")
    assert ranking.head(20)["cluster"].value_counts().to_dict() == {"loud": 10, "low": 10}
    best_low = scores.sort("low/x", descending=True)["example_id"][0]
    assert best_low in ranking.head(2)["example_id"].tolist()
    assert sorted(ranking["example_id"]) == scores["example_id"].to_list()
    for name in ("loud", "low"):
        alone = rank_by_influence(scores, "max", name)
        assert alone["score"].is_monotonic_decreasing
        assert alone["cluster"].unique().tolist() == [name]


def test_subtasks_in_turn_are_one_order_of_the_target():
    scores = pl.DataFrame({"example_id": ["a", "b", "c"], "t/x": [3.0, 2.0, 1.0], "t/y": [0.1, 0.2, 0.9]})
    assert rank_by_influence(scores, "round_robin")["example_id"].tolist() == ["a", "c", "b"]


def test_an_unknown_target_is_named_with_the_known():
    scores = pl.DataFrame({"example_id": ["a"], "math/x": [1.0], "code/x": [1.0]})
    with pytest.raises(BadSetting, match=r"no target 'maths'\. Scores are there for: code, math"):
        rank_by_influence(scores, "max", "maths")


def table_of(rows: dict[str, list[int]]) -> TokenTable:
    records = [{"example_id": name, "input_ids": ids, "supervised": [True] * len(ids)} for name, ids in rows.items()]
    return TokenTable(pa.Table.from_pylist(records, schema=TOKENS).combine_chunks().to_batches())


def ranking_of(names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    ranking = pd.DataFrame({"example_id": names, "rank": range(len(names))})
    return ranking, pd.DataFrame({"example_id": names, "n_tokens": 10})


LONG = list(range(100, 160))


@pytest.mark.parametrize(
    ("deduplicate", "expected"),
    [("none", ["a", "copy", "edited"]), ("exact", ["a", "edited", "other"]), ("near", ["a", "other", "short"])],
)
def test_repeats_are_passed_over_and_the_budget_is_filled(deduplicate: str, expected: list[str]):
    edited = [*LONG[:30], 7, *LONG[31:]]
    rows = {"a": LONG, "copy": LONG, "edited": edited, "other": LONG[::-1], "short": [1, 2], "tail": [1, 2]}
    ranking, pool = ranking_of(list(rows))
    is_repeat = repeats_of_chosen(lambda: table_of(rows), SelectionParams(deduplicate=deduplicate))
    assert take(ranking, pool, BudgetParams(rows=3), is_repeat)["example_id"].tolist() == expected
    is_repeat = repeats_of_chosen(lambda: table_of(rows), SelectionParams(deduplicate=deduplicate))
    assert take(ranking, pool, BudgetParams(tokens=39), is_repeat)["example_id"].tolist() == expected


def test_near_is_the_share_of_common_runs_of_five_tokens():
    """One changed token of 60 spoils 5 of 56 runs: 51 in common of 61 different ones, 0.836."""
    rows = {"a": LONG, "edited": [*LONG[:30], 7, *LONG[31:]]}
    for similarity, repeat in ((0.83, True), (0.84, False)):
        is_repeat = repeats_of_chosen(
            lambda: table_of(rows), SelectionParams(deduplicate="near", similarity=similarity)
        )
        assert not is_repeat("a")
        assert is_repeat("edited") is repeat


def test_near_repeats_are_found_whatever_their_text():
    random = np.random.default_rng(0)
    rows: dict[str, list[int]] = {}
    for number in range(200):
        ids = random.integers(0, 1000, 80).tolist()
        rows[f"{number}"] = ids
        rows[f"{number}-near"] = [*ids[:76], 1, 2, 3, 4]
    is_repeat = repeats_of_chosen(lambda: table_of(rows), SelectionParams(deduplicate="near"))
    found = {name for name in rows if is_repeat(name)}
    assert found == {name for name in rows if name.endswith("near")}
