"""Leaving a cluster out: which rows are left, what the first order foretells, and how both are compared."""

import numpy as np
import polars as pl
import pytest

from pipelines.leave_out.nodes import of_fixed_steps
from winnow.errors import BadSetting
from winnow.influence.retrain import PLAIN
from winnow.params import FinetuneParams, LeaveOutParams
from winnow.report.statistics import difference
from winnow.training.data import expand
from winnow.verification.leave_out import (
    as_heatmaps,
    leave_out_metrics,
    leave_out_table,
    left_out,
    mixes_without,
    predicted_changes,
)

CLUSTERS = {f"a:{n}": "x/0" for n in range(6)} | {f"b:{n}": "x/1" for n in range(3)} | {"c:0": "y/0"}
INFLUENCE = {"x/0": 0.1, "x/1": 0.4, "y/0": -0.2}


def cells() -> pl.DataFrame:
    sizes = {"x/0": 6, "x/1": 3, "y/0": 1}
    rows = [
        (domain, name, sizes[name], sign * value)
        for domain, sign in (("math", 1), ("code", -1), ("average", 9))
        for name, value in INFLUENCE.items()
    ]
    return pl.DataFrame(rows, schema=["domain", "cluster", "rows", "influence"], orient="row")


def test_a_mix_has_each_row_but_those_of_its_cluster():
    mixes, seeds = mixes_without(CLUSTERS, LeaveOutParams(seeds=2))
    assert set(mixes) == {f"{name}@{seed}" for name in ("", "x/0", "x/1", "y/0") for seed in (0, 1)}
    assert mixes["@1"] == dict.fromkeys(CLUSTERS, 1)
    assert set(mixes["x/0@0"]) == {"b:0", "b:1", "b:2", "c:0"}
    assert seeds["x/0@1"] == 1
    few, _ = mixes_without(CLUSTERS, LeaveOutParams(seeds=2, rows=5))
    assert len(few["@0"]) == 5
    assert all(set(mix) <= set(few["@0"]) for mix in few.values())


@pytest.mark.parametrize("rows", [None, 2])
def test_a_pool_of_one_cluster_is_refused(rows: int | None):
    clusters = {f"a:{n}": "only" for n in range(3)}
    with pytest.raises(BadSetting, match=r"Without the cluster 'only' none of [23] rows is left.*`influence\.columns`"):
        mixes_without(clusters, LeaveOutParams(rows=rows))


def test_a_cluster_that_is_called_plain_is_left_out_like_any_other():
    mixes, _ = mixes_without({"a": "plain", "b": "fancy"}, LeaveOutParams(seeds=2))
    assert mixes["plain@0"] == {"b": 1}
    assert mixes["@0"] == {"a": 1, "b": 1}


def test_the_first_order_is_the_derivative_of_a_mixture_of_fixed_size():
    shares = np.array([0.6, 0.3, 0.1])
    influence = np.array(list(INFLUENCE.values()))
    found = predicted_changes(cells())
    for place, name in enumerate(INFLUENCE):
        without = np.where(np.arange(3) == place, 0, shares)
        without /= without.sum()
        # A gain is the influence of what is trained on more; the loss changes by as much less.
        assert found[name]["math"] == pytest.approx(-(without - shares) @ influence)
        assert found[name]["code"] == pytest.approx(-found[name]["math"])
        assert "average" not in found[name]


def losses(without: dict[str, float], seeds: int = 3, rows: int = 5) -> dict[str, dict[str, np.ndarray]]:
    """Losses of 2, changed by ``without`` each cluster in math, and by as much less in code."""
    random = np.random.default_rng(0)
    noise = {name: random.normal(scale=0.001, size=(seeds, rows)) for name in (PLAIN, *without)}
    changes = {PLAIN: 0.0, **without}
    return {
        name: {"math": 2 + change + noise[name], "code": 2 - change + noise[name]} for name, change in changes.items()
    }


def test_what_was_measured_is_the_rise_of_the_loss_without_the_cluster():
    known = losses({"x/0": 0.0, "x/1": 0.3, "y/0": -0.1})
    mixed = left_out(predicted_changes(cells()), known)
    table = leave_out_table(mixed, cells()).set_index(["cluster", "domain"])
    row = table.loc[("x/1", "math")]
    expected = difference(known["x/1"]["math"], known[PLAIN]["math"])
    assert row["rows"] == 3
    assert row["measured"] == pytest.approx(expected.mean)
    assert row["measured"] == pytest.approx(0.3, abs=0.01)
    assert row["measured_ci"] == pytest.approx(expected.half_width)
    assert row["p_value"] == pytest.approx(expected.p_value)
    assert table["p_holm"].min() == pytest.approx(min(1, 6 * table["p_value"].min())), "six tests"
    assert row["predicted"] > 0, "influence is above the mean"
    assert table.loc[("x/1", "code"), "measured"] == pytest.approx(-0.3, abs=0.01)
    predicted, measured = as_heatmaps(table.reset_index())
    assert (measured.rows, measured.columns) == (["code", "math"], ["x/0", "x/1", "y/0"])
    assert measured.values[1, 1] == pytest.approx(expected.mean)
    assert 2 * measured.errors[1, 1] == pytest.approx(expected.half_width)
    assert predicted.values[1, 1] == row["predicted"]


@pytest.mark.parametrize("right", [1, -1])
def test_ranks_that_agree_correlate_and_ranks_that_are_reversed_do_the_opposite(right: int):
    changes = {name: right * change["math"] for name, change in predicted_changes(cells()).items()}
    found = leave_out_metrics(left_out(predicted_changes(cells()), losses(changes)))
    assert found["verify/leave_out/spearman"] == pytest.approx(right)
    assert found["verify/leave_out/spearman/math"] == pytest.approx(right)
    assert found["verify/leave_out/spearman_low/math"] <= right <= found["verify/leave_out/spearman_high/math"] + 1e-9


def test_a_cluster_of_which_no_row_was_drawn_is_not_compared():
    known = losses({"x/0": 0.1, "x/1": 0.1})
    assert [cluster.name for cluster in left_out(predicted_changes(cells()), known)] == ["x/0", "x/1"]


def test_all_mixes_are_trained_for_the_same_number_of_steps():
    assert of_fixed_steps(FinetuneParams(steps=100), LeaveOutParams(), 500).steps == 100
    assert of_fixed_steps(FinetuneParams(steps=100), LeaveOutParams(steps=7), 500).steps == 7
    assert of_fixed_steps(FinetuneParams(epochs=2, batch=10), LeaveOutParams(), 500).steps == 100


@pytest.mark.parametrize(("rows", "epochs"), [(500, 1.0), (505, 1.0), (519, 0.7), (3, 1.0), (3, 0.1)])
def test_an_epoch_has_as_many_steps_as_a_fine_tuning_of_all_rows(rows: int, epochs: float):
    order = expand({f"r{n}": 1 for n in range(rows)}, 0, None, epochs, 10)
    assert of_fixed_steps(FinetuneParams(epochs=epochs, batch=10), LeaveOutParams(), rows).steps * 10 == len(order)


def test_nothing_is_saved_or_looked_at_on_the_way():
    asked = FinetuneParams(checkpoints=5, moments=True, validation_rows=9)
    assert of_fixed_steps(asked, LeaveOutParams(steps=7), 500) == FinetuneParams(steps=7)
