"""Gain against cost: whose gain over whom, and which seconds count."""

import math

import pytest

from winnow.report.compared import ACCURACY, CHOOSING, SECONDS, Compared
from winnow.report.gain_cost import cost_label, draw_gain_cost, gain_and_cost, gain_chart


def arm(name: str, accuracy: float, seconds: float = 10.0, **values: object) -> Compared:
    choosing = values.pop("choosing", 0.0)
    metrics = {ACCURACY: accuracy, SECONDS: seconds} | ({} if choosing is None else {CHOOSING: choosing})
    return Compared(name=name, arm=name, metrics=metrics, **values)


def by_arm(*rows: Compared) -> dict[str, dict[str, object]]:
    return {line["arm"]: line for line in gain_and_cost(rows).to_dict("records")}


def test_the_cost_is_of_one_seed_and_of_the_whole_choosing():
    found = by_arm(arm("random", 0.5), arm("less", 0.6, 50.0, seeds=5, choosing=100.0, control="random"))
    assert found["less"]["cost"] == 50.0 / 5 + 100.0
    assert found["random"]["cost"] == 10.0


def test_the_gain_is_what_was_tested_and_else_the_difference_of_accuracies():
    tested = arm("less", 0.6, control="random", effect=0.08, effect_ci=0.02)
    found = by_arm(arm("random", 0.5), tested, arm("length", 0.55, control="random"))
    assert (found["less"]["gain"], found["less"]["gain_ci"]) == (8.0, 2.0)
    assert found["length"]["gain"] == pytest.approx(5.0)
    assert math.isnan(found["length"]["gain_ci"])
    assert (found["random"]["gain"], found["random"]["control"]) == (0.0, "")


def test_an_arm_that_nothing_is_measured_against_is_left_out():
    assert "base" not in by_arm(arm("base", 0.0), arm("random", 0.5), arm("all", 0.6, control="random"))


def test_a_control_that_is_not_there_gives_a_gain_only_where_it_was_tested():
    assert by_arm(arm("less", 0.6, control="random")) == {}
    assert by_arm(arm("less", 0.6, control="random", effect=0.1))["less"]["control"] == "random"


def test_of_several_controls_the_strongest_is_the_one_that_is_named():
    weak, strong = arm("random", 0.5), arm("random_beta", 0.56)
    both = "random,random_beta"
    found = by_arm(weak, strong, arm("less", 0.6, control=both))
    assert (found["less"]["control"], found["less"]["gain"]) == ("random_beta", pytest.approx(4.0))
    tested = arm("less", 0.6, control=both, effect=0.04, effect_ci=0.01)
    assert by_arm(weak, strong, tested)["less"]["control"] == "random_beta"
    assert "points over random_beta<br>" in gain_chart([weak, strong, tested]).data[2].hovertext[0]
    assert by_arm(weak, tested)["less"]["control"] == "the strongest of random, random_beta"


def test_where_one_arm_does_not_tell_what_choosing_cost_none_is_counted():
    rows = [arm("random", 0.5, choosing=None), arm("less", 0.6, choosing=100.0, control="random")]
    assert cost_label(gain_and_cost(rows)) == "seconds of work to train and evaluate one seed"
    assert [trace.x[0] for trace in gain_chart(rows).data] == [10.0, 10.0]
    known = [arm("random", 0.5), arm("less", 0.6, choosing=100.0, control="random")]
    assert [trace.x[0] for trace in gain_chart(known).data] == [10.0, 110.0]
    assert "choose" in cost_label(gain_and_cost(known))


def test_costs_of_other_orders_of_magnitude_are_drawn_on_a_logarithmic_axis():
    rows = [arm("random", 0.5), arm("less", 0.6, choosing=1000.0, control="random")]
    axes = draw_gain_cost(rows).axes[0]
    assert axes.get_xscale() == "log"
    assert {"10", "100", "1000"} <= {label.get_text() for label in axes.get_xticklabels()}
    low, high = gain_chart(rows).layout.xaxis.range
    assert 10**low < 10 < 1010 < 10**high


@pytest.mark.parametrize("number", [0, 1, 12, 40])
def test_every_arm_is_named_in_both_figures(number: int):
    rows = [arm("random", 0.5), *(arm(f"arm{place}", 0.6, control="random") for place in range(number))]
    axes = draw_gain_cost(rows).axes[0]
    legend = axes.get_legend()
    named = {text.get_text() for text in (legend.get_texts() if legend else axes.texts)}
    expected = {f"arm{place}" for place in range(number)} | ({"random (control)"} if number else set())
    assert named == expected
    assert axes.get_position().height > 0.6, "squeezed by its legend"
    assert {trace.name for trace in gain_chart(rows).data} == {name.removesuffix(" (control)") for name in expected}


def test_a_name_with_tags_is_text_in_a_figure():
    rows = [arm("<b>", 0.5), arm("x", 0.6, control="<b>")]
    assert gain_chart(rows).data[0].name == "&lt;b&gt;"
