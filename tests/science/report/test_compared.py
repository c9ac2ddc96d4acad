"""What is told apart between arms, and what a file says of them."""

import math

import pytest

from winnow.report.compared import (
    Compared,
    benchmarks_of,
    best_first,
    differing,
    domains_of,
    error_of,
    have_other_controls,
    table_of,
    verdict_of,
    were_asked_differently,
)
from winnow.report.page import columns_of


def test_only_parameters_with_several_values_differ_and_an_absent_one_is_no_value():
    rows = [
        Compared("base", "base", params={"arm.strategy": "none"}),
        Compared("a", "a", params={"arm.strategy": "less", "finetune.lr": "1e-3", "finetune.batch": "32"}),
        Compared("b", "b", params={"arm.strategy": "less", "finetune.lr": "1e-4", "finetune.batch": "32"}),
    ]
    assert differing(rows) == ["arm.strategy", "finetune.lr"]
    assert {"finetune.lr"} <= set(table_of(rows).columns)
    assert "finetune.batch" not in table_of(rows).columns


def test_what_a_study_says_of_all_its_arms_is_no_difference_between_two_of_them():
    rows = [Compared(name, name, params={"arms.less.seeds": name, "study.arms": name}) for name in "ab"]
    assert differing(rows) == []


def test_the_best_is_first_and_what_was_not_evaluated_last():
    rows = [Compared(str(value), "a", metrics={"evaluate/accuracy": value}) for value in (0.2, 0.9, 0.5)]
    assert [row.name for row in best_first([Compared("none", "a"), *rows])] == ["0.9", "0.5", "0.2", "none"]


def test_benchmarks_are_told_from_their_errors_with_and_without_a_filter():
    metrics = {
        "benchmarks/gsm8k/8-shot/exact_match/strict": 0.5,
        "benchmarks/gsm8k/8-shot/exact_match_stderr/strict": 0.1,
        "benchmarks/mmlu/acc": 0.4,
        "benchmarks/mmlu/acc_stderr": 0.2,
        "benchmarks/mmlu/f1": 0.3,
    }
    row = Compared("a", "a", metrics={**metrics, "evaluate/accuracy/math": 1.0})
    assert benchmarks_of([row]) == [name for name in metrics if "stderr" not in name]
    assert error_of(row, "benchmarks/gsm8k/8-shot/exact_match/strict") == 1.96 * 0.1
    assert error_of(row, "benchmarks/mmlu/acc") == 1.96 * 0.2
    assert math.isnan(error_of(row, "benchmarks/mmlu/f1"))
    assert domains_of([row]) == ["math"]


def test_a_verdict_is_read_from_old_and_new_comparisons():
    assert verdict_of({"versus_control": "worse"})["verdict"] == "worse"
    new = verdict_of({"verdict": "better", "effect": 0.1, "effect_ci": 0.02, "p_holm": 0.01, "seeds_needed": 7})
    assert new == {"verdict": "better", "effect": 0.1, "effect_ci": 0.02, "p_holm": 0.01, "seeds_needed": 7.0}
    assert verdict_of({"verdict": float("nan"), "versus_control": None})["verdict"] == ""


@pytest.mark.parametrize(
    ("needed", "p_holm", "told"),
    [
        (12.0, 0.2, "12"),
        (1001.0, 0.2, "> 1,000"),
        (math.inf, 0.2, "more rows"),
        (2.0, 0.04, ""),
        (math.nan, 0.2, ""),
    ],
)
def test_seeds_needed_are_told_where_they_are_needed(needed: float, p_holm: float, told: str):
    row = Compared("less", "less", seeds_needed=needed, p_holm=p_holm)
    assert row.seeds_to_tell == told
    assert table_of([row])["seeds_needed"].tolist() == [told]
    (cell,) = [column.cell(row) for column in columns_of([row]) if column.label == "seeds needed"] or [None]
    assert (cell.text if cell else "") == told
    # The page's script reads it as a number.
    assert not cell or cell.sort == {math.inf: "Infinity"}.get(needed, str(needed))


def test_arms_that_answered_other_rows_are_noticed():
    rows = [Compared("a", "a", asked={"rows": "x", "limit": "9"}), Compared("b", "b", asked={"rows": "x"})]
    rows += [Compared("old", "old")]
    assert not were_asked_differently(rows)
    assert were_asked_differently([*rows, Compared("c", "c", asked={"rows": "y"})])
    assert were_asked_differently([*rows, Compared("c", "c", asked={"rows": "x", "limit": "5"})])


def test_a_control_of_another_study_is_noticed():
    own = Compared("random", "random", parent="1")
    other = Compared("random 2", "random", parent="2")
    less = Compared("less", "less", parent="1", control="random", verdict="better")
    assert not have_other_controls([own, less])
    assert not have_other_controls([less])
    assert not have_other_controls([own, other, less])
    assert have_other_controls([other, less])


def test_one_number_in_two_spellings_is_no_difference():
    rows = [Compared(value, "a", params={"lr": value, "dims": f"[{value}]"}) for value in ("8", "8.0")]
    assert differing(rows) == ["dims"]
