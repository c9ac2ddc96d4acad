"""Areas are those of other libraries, intervals hold what they promise, and the sentence says no more than they do."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import brunnermunzel, norm
from sklearn.metrics import roc_auc_score

from winnow.errors import BadInput
from winnow.report.separation import area, separation


def tables(**values: list[float]) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [(f"{kind}:{place}", kind, value) for kind, found in values.items() for place, value in enumerate(found)]
    table = pl.DataFrame(rows, schema=["example_id", "kind", "quality"], orient="row")
    return table.select("example_id", "quality"), table.select("example_id", "kind")


@pytest.mark.parametrize("digits", [1, 8])
def test_the_area_is_sklearns_with_ties_and_without(digits: int):
    random = np.random.default_rng(0)
    clean, wrong = np.round(random.normal(1, 1, 70), digits), np.round(random.normal(0, 1, 40), digits)
    labels = np.repeat([1, 0], [70, 40])
    assert area(clean, wrong).value == pytest.approx(roc_auc_score(labels, np.concatenate([clean, wrong])))
    assert area(wrong, clean).value == pytest.approx(1 - area(clean, wrong).value)


def test_at_chance_the_interval_ends_where_brunner_and_munzel_stop_to_reject():
    """Their test and DeLong's variance are the same; the odds change little near a half."""
    random = np.random.default_rng(1)
    clean, wrong = random.normal(0.05, 1, 300), random.normal(0, 3, 500)
    found = area(clean, wrong)
    statistic = brunnermunzel(wrong, clean).statistic
    error = (found.value - 0.5) / statistic
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * abs(error), rel=0.01)


@pytest.mark.parametrize("rows", [(15, 25), (60, 200)])
@pytest.mark.parametrize("truth", [0.5, 0.7, 0.9, 0.98])
def test_nineteen_of_twenty_intervals_hold_the_true_area(truth: float, rows: tuple[int, int]):
    random = np.random.default_rng(7)
    shift = norm.ppf(truth) * 2**0.5
    found = [area(random.normal(shift, 1, rows[0]), random.normal(0, 1, rows[1])) for _ in range(1500)]
    share = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.93 <= share <= 0.985


def test_rows_that_are_all_in_order_have_an_interval_too():
    found = area(np.arange(10, 30.0), np.arange(10.0))
    assert (found.value, found.high) == (1, 1)
    assert 0.6 < found.low < 0.8, "ten rows in order happen by chance, too"
    mirrored = area(np.arange(10.0), np.arange(10, 30.0))
    assert (mirrored.low, mirrored.high) == (0, pytest.approx(1 - found.low))


def test_rows_that_are_all_alike_tell_nothing():
    found = area(np.ones(30), np.ones(20))
    assert found.low < found.value == 0.5 < found.high


def test_each_kind_has_its_sentence():
    random = np.random.default_rng(0)
    quality, truth = tables(
        clean=random.normal(1, 1, 200).tolist(),
        wrong=random.normal(0, 1, 200).tolist(),
        off_topic=random.normal(2, 1, 100).tolist(),
        near_duplicate=random.normal(1, 1, 100).tolist(),
        long=[0.3],
    )
    found = separation(quality.sample(fraction=1, shuffle=True, seed=0), truth)
    assert found.columns == ["kind", "rows", "clean_rows", "auc", "low", "high", "verdict"]
    assert found["kind"].to_list() == ["long", "near_duplicate", "off_topic", "wrong"]
    assert found["rows"].to_list() == [1, 100, 100, 200]
    begins = [sentence.partition(":")[0] for sentence in found["verdict"]]
    assert begins == ["cannot be told", "not distinguishable from chance", "worse than chance", "separates"]
    assert found["auc"].null_count() == 1


def test_rows_without_a_quality_are_left_out():
    quality, truth = tables(clean=[0.1, 0.9, 0.5], wrong=[0.2, 0.3])
    lost = separation(quality.filter(pl.col("example_id") != "clean:0"), truth)
    assert lost.select("rows", "clean_rows", "auc").rows() == [(2, 2, 1.0)]


def test_without_clean_rows_nothing_can_be_told_and_without_others_there_is_nothing_to_tell():
    quality, truth = tables(wrong=[0.2, 0.3])
    assert separation(quality, truth)["verdict"].to_list() == [
        "cannot be told: 2 rows wrong and 0 clean have a quality, 2 are needed"
    ]
    assert separation(*tables(clean=[0.2, 0.3])).height == 0


def test_a_quality_that_is_no_number_is_refused():
    quality, truth = tables(clean=[0.2, float("nan")], wrong=[0.1, 0.2])
    with pytest.raises(BadInput, match="clean:1"):
        separation(quality, truth)
