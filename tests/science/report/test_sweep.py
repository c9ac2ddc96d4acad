"""Rankings of settings: order, intervals, and what they say in words."""

import numpy as np
import pytest
from scipy import stats

from winnow.errors import BadSetting
from winnow.report.statistics import Estimate
from winnow.report.sweep import (
    Result,
    Tried,
    apart,
    carried_over,
    edges,
    gap,
    is_noise,
    on_common_rows,
    ranked,
    ranking,
    sentences,
    telling,
)

GRID = {"finetune.lr": [0.001, 0.01, 0.1]}
CHOICES = {"finetune.method": ["lora", "full"], **GRID}


def result(loss: float, accuracy: float, seeds: int = 3, noise: float = 0.001) -> Result:
    """40 rows whose losses differ much, as real ones do, while a setting moves them all; noise is of the seeds."""
    of_rows = np.linspace(0, 2, 40)
    of_seeds = noise * (np.arange(seeds) - (seeds - 1) / 2)
    correct = np.tile(np.arange(40) < round(40 * accuracy), (seeds, 1)).astype(float)
    return Result(
        loss - 1 + of_rows + of_seeds[:, None], correct, tuple(f"row {row:02}" for row in range(40)), 6.0, 0.5
    )


def tried(lr: float, loss: float, accuracy: float = 0.5, method: str | None = None, **given: float) -> Tried:
    values = {"finetune.lr": lr} if method is None else {"finetune.method": method, "finetune.lr": lr}
    return Tried(values, result(loss, accuracy, **given))


def rates(order: list[Tried]) -> list[float]:
    return [one.values["finetune.lr"] for one in order]


def words(settings: list[Tried], by: str = "loss") -> str:
    return "\n".join(sentences(ranked(settings, by), GRID, by))


def test_the_lowest_loss_or_the_highest_accuracy_comes_first():
    settings = [tried(0.001, 2.0, 0.5), tried(0.01, 1.0, 0.6), tried(0.1, 1.5, 0.9)]
    assert rates(ranked(settings, "loss")) == [0.01, 0.1, 0.001]
    assert rates(ranked(settings, "accuracy")) == [0.1, 0.01, 0.001]


def test_settings_of_the_same_accuracy_are_ranked_by_loss():
    assert rates(ranked([tried(0.001, 2.0), tried(0.01, 1.0), tried(0.1, 1.5)], "accuracy")) == [0.01, 0.1, 0.001]


def test_where_accuracy_cannot_rank_the_loss_does_unless_tokens_differ():
    assert telling([tried(0.001, 2.0, 0.5), tried(0.01, 1.0, 0.5)], "accuracy") == "loss"
    assert telling([tried(0.001, 2.0, 0.5), tried(0.01, 1.0, 0.6)], "accuracy") == "accuracy"
    models = [Tried({"model.base": name}, result(1.0, 0.0)) for name in "ab"]
    assert telling(models, "accuracy") == "accuracy"


def test_failed_and_diverged_settings_come_last_with_their_reason():
    diverged = tried(0.1, float("nan"))
    order = ranked([diverged, Tried({"finetune.lr": 0.01}, None, "out of memory"), tried(0.001, 5.0)], "loss")
    assert order[0].values["finetune.lr"] == 0.001
    table = ranking(order, "loss")
    assert table["rank"].dropna().tolist() == [1]
    reasons = dict(zip(table["finetune.lr"], table["reason"], strict=True))
    assert reasons[0.01] == "out of memory"
    assert "diverged" in reasons[0.1]
    assert reasons[0.001] == ""


def test_results_on_different_rows_are_never_ranked_together():
    other = tried(0.01, 1.0)
    other = Tried(other.values, Result(other.result.losses, other.result.correct, ("another",) * 40, 1.0, 1.0))
    with pytest.raises(AssertionError, match="different questions"):
        ranked([tried(0.001, 1.0), other], "loss")


def test_settings_that_lose_rows_are_ranked_on_those_that_all_were_asked():
    cut, whole = result(2.0, 0.5), result(1.0, 0.5)
    kept = [place for place in range(40) if place % 4]
    cut = Result(cut.losses[:, kept], cut.correct[:, kept], tuple(cut.rows[place] for place in kept), 1.0, 1.0)
    failed = Tried({"tokenize.max_length": 8}, None, "out of memory")
    tried = [Tried({"tokenize.max_length": 16}, cut), Tried({"tokenize.max_length": 512}, whole), failed]
    settled, left_out = on_common_rows(tried)
    assert left_out == 10
    assert settled[1].result.rows == settled[0].result.rows == cut.rows
    assert settled[1].result.losses.tolist() == whole.losses[:, kept].tolist()
    assert settled[1].result.correct.tolist() == whole.correct[:, kept].tolist()
    assert settled[2] is failed
    assert len(ranked(settled, "accuracy")) == 3
    nothing = Result(np.ones((3, 1)), np.ones((3, 1)), ("another",), 1.0, 1.0)
    with pytest.raises(BadSetting, match="No validation row could be asked of all settings"):
        on_common_rows([*tried, Tried({"tokenize.max_length": 4}, nothing)])
    assert on_common_rows([failed]) == ([failed], 0)


def test_losses_of_different_tokens_neither_rank_nor_are_told():
    models = [Tried({"model.base": name}, result(loss, 0.5)) for name, loss in (("a", 2.0), ("b", 1.0))]
    order = ranked(models, "accuracy")
    assert order == models
    said = "\n".join(sentences(order, {"model.base": ["a", "b"]}, "accuracy"))
    assert "By validation loss" not in said
    assert "`model.base` changes what a token is" in said


def test_the_same_answers_are_one_result_with_no_difference():
    same = [tried(0.001, 1.0), tried(0.01, 1.0), tried(0.1, 2.0)]
    assert [one.values["finetune.lr"] for one in apart(same)] == [0.001, 0.1]
    for by in ("loss", "accuracy"):
        assert gap(same[1], same[0], by) == Estimate(0.0, 0.0, 1.0)


def test_losses_that_vary_in_nothing_differ_by_exactly_that():
    def constant(loss: float) -> Tried:
        return Tried({"finetune.lr": loss}, Result(np.full((3, 40), loss), np.ones((3, 40)), ("x",) * 40, 1.0, 1.0))

    assert gap(constant(1.5), constant(1.0), "loss") == Estimate(0.5, 0.0, 0.0)


def test_the_interval_of_a_setting_is_students_over_its_seeds():
    found = result(1.0, 0.5, seeds=4, noise=0.2)
    low, high = stats.t.interval(0.95, 3, found.losses.mean(), stats.sem(found.losses.mean(axis=1)))
    mine = found.estimate("loss")
    assert (mine.mean - mine.half_width, mine.mean + mine.half_width) == pytest.approx((low, high))
    assert np.isnan(result(1.0, 0.5, seeds=1).estimate("loss").half_width)


def test_a_table_holds_each_number_of_each_setting():
    table = ranking(ranked([tried(0.001, 2.0, 0.5), tried(0.01, 1.0, 0.6)], "loss"), "loss")
    assert table["loss"].tolist() == pytest.approx([1.0, 2.0])
    assert table["accuracy"].tolist() == pytest.approx([0.6, 0.5])
    assert table["worse_than_best"].tolist() == pytest.approx([0.0, 1.0])
    assert table["seconds"].tolist() == [6.0, 6.0]
    assert table["seeds"].tolist() == [3, 3]


@pytest.mark.parametrize("by", ["loss", "accuracy"])
def test_a_worse_setting_has_a_positive_gap(by: str):
    good, bad = tried(0.001, 1.0, 0.9), tried(0.01, 2.0, 0.4)
    assert gap(bad, good, by).mean > 0
    assert not is_noise(gap(bad, good, by))


def test_a_difference_within_the_noise_of_seeds_is_called_that():
    assert "within the noise" in words([tried(0.001, 1.0, noise=0.2), tried(0.01, 1.01, noise=0.2)])
    assert "more than the noise" in words([tried(0.001, 1.0), tried(0.01, 1.1)])
    assert "one seed cannot tell" in words([tried(0.001, 1.0, seeds=1), tried(0.01, 1.1, seeds=1)])


def test_how_many_settings_cannot_be_told_from_the_best():
    noisy = [tried(0.001, 1.0, noise=0.2), tried(0.01, 1.01, noise=0.2), tried(0.1, 9.0)]
    assert "Of 3 settings, 2 cannot be told from the best" in words(noisy)


def test_where_the_other_measure_prefers_another_setting_it_says_so():
    said = words([tried(0.01, 1.0, 0.5), tried(0.001, 2.0, 0.9)])
    assert "By accuracy the best is finetune.lr=0.001" in said
    assert "--by accuracy" in said
    assert "By accuracy" not in words([tried(0.01, 1.0, 0.9), tried(0.001, 2.0, 0.5)])


def test_a_best_value_at_the_edge_asks_for_more():
    assert edges({"finetune.lr": 0.1}, GRID) == {"finetune.lr": "largest"}
    assert edges({"finetune.lr": 0.001}, GRID) == {"finetune.lr": "smallest"}
    assert edges({"finetune.lr": 0.01}, GRID) == {}
    assert "try larger" in words([tried(0.1, 1.0), tried(0.01, 2.0)])


def test_choices_have_no_edge():
    assert edges({"a": "full", "b": True, "c": 1}, {"a": ["full", "lora"], "b": [False, True], "c": [1]}) == {}


def methods(full: dict[float, float], noise: float = 0.001) -> list[Tried]:
    """LoRA is best at 0.01; full fine-tuning reaches these losses."""
    lora = [tried(lr, loss, method="lora") for lr, loss in ((0.001, 2.0), (0.01, 1.0), (0.1, 3.0))]
    return ranked([*lora, *(tried(lr, loss, method="full", noise=noise) for lr, loss in full.items())], "loss")


def test_a_learning_rate_that_costs_loss_does_not_carry_over():
    *own, verdict = carried_over(methods({0.001: 0.9, 0.01: 1.4, 0.1: 5.0}), CHOICES, "loss")
    assert "finetune.method=lora: best finetune.lr 0.01 " in own[0]
    assert "finetune.method=full: best finetune.lr 0.001 " in own[1]
    assert "smallest that was tried" in own[1]
    assert "10 times its own best" in verdict
    assert "0.5000" in verdict
    assert verdict.endswith("does not carry over.")


def test_a_learning_rate_that_is_as_good_for_both_is_named():
    lora = [tried(lr, loss, method="lora", noise=0.2) for lr, loss in ((0.001, 1.02), (0.01, 1.0), (0.1, 3.0))]
    full = [tried(lr, loss, method="full") for lr, loss in ((0.001, 0.9), (0.01, 1.4))]
    first, _, verdict = carried_over(ranked([*lora, *full], "loss"), CHOICES, "loss")
    assert "; 0.001 cannot be told from it" in first
    assert "does not carry over. But 0.001 cannot be told from the best for lora either" in verdict


def test_a_learning_rate_whose_cost_is_noise_is_called_that():
    verdict = carried_over(methods({0.001: 0.99, 0.01: 1.0, 0.1: 5.0}, noise=0.5), CHOICES, "loss")[-1]
    assert "not distinguishable from no cost" in verdict


def test_the_same_best_learning_rate_carries_over():
    verdict = carried_over(methods({0.001: 2.0, 0.01: 1.0, 0.1: 5.0}), CHOICES, "loss")[-1]
    assert "on this grid it carries over" in verdict


@pytest.mark.parametrize(("noise", "seeds"), [(2.0, 3), (0.001, 1)])
def test_a_grid_on_which_nothing_is_beyond_the_noise_says_nothing_of_carrying_over(noise: float, seeds: int):
    reached = ((0.001, 1.2), (0.01, 1.0), (0.1, 1.3))
    lora = [tried(lr, loss, method="lora") for lr, loss in reached]
    full = [tried(lr, loss, method="full", noise=noise, seeds=seeds) for lr, loss in reached]
    for first, second in ((lora, full), (full, lora)):
        grid = {**CHOICES, "finetune.method": [first[0].values["finetune.method"], second[0].values["finetune.method"]]}
        verdict = carried_over(ranked([*first, *second], "loss"), grid, "loss")[-1]
        assert "the grid cannot tell" in verdict
        assert "carries over" not in verdict


def test_a_setting_without_a_result_leaves_the_question_open():
    order = [*methods({0.001: 0.9}), Tried({"finetune.method": "full", "finetune.lr": 0.01}, None, "out of memory")]
    assert "nothing can be said" in carried_over(order, CHOICES, "loss")[-1]


@pytest.mark.parametrize(
    "grid", [GRID, {**GRID, "finetune.batch": [8, 16]}, {**CHOICES, "finetune.schedule": ["a", "b"]}]
)
def test_other_grids_ask_nothing_of_the_kind(grid: dict[str, list[object]]):
    assert carried_over(methods({0.001: 0.9}), grid, "loss") == []
