"""What is said of scores: agreement, dependence on length, rows left out, and the rows at both ends."""

import io

import numpy as np
import polars as pl
import pytest

from winnow.report.influence import agreement, diagnose, draw_diagnostics, extreme_examples

IDS = [f"e{number:02}" for number in range(20)]
RISING = np.linspace(0, 1, 20)


def tables() -> dict[str, pl.DataFrame]:
    first = pl.DataFrame({"example_id": IDS, "a/x": RISING, "b/y": RISING})
    second = pl.DataFrame({"example_id": IDS[::-1], "a/x": RISING[::-1] ** 3, "b/y": RISING})
    return {"10": first, "20": second}


def lengths() -> pl.DataFrame:
    return pl.DataFrame({"example_id": [*IDS, "lost"], "n_supervised": [*range(40, 20, -1), 5]})


def test_agreement_is_the_mean_rank_correlation_over_subtasks():
    """a/x has the same order in both, b/y the opposite one."""
    assert agreement(tables()) == {("10", "20"): pytest.approx(0.0)}
    one = {step: table.select("example_id", "a/x") for step, table in tables().items()}
    assert agreement(one) == {("10", "20"): pytest.approx(1.0)}


def test_the_table_names_weights_lengths_errors_and_rows_without_a_score():
    certificate = {"rms_error": 0.01, "largest_error": 0.03, "spearman": 0.99, "spread": 0.1, "momentum": 2.5}
    scores = {"a": RISING}
    table = diagnose(tables(), {"10": 0.7, "20": 0.3}, pl.Series(IDS), scores, lengths(), {"10@64": certificate})
    value = {(row.measure, row.of): row.value for row in table.itertuples()}
    assert value["checkpoint weight", "10"] == 0.7
    assert value["score against length (Spearman)", "a"] == pytest.approx(-1.0), "the best rows are the shortest"
    assert value["error of a stored cosine (root mean square)", "checkpoint 10, 64 dimensions"] == 0.01
    assert value["momentum share |b1 m| / |(1 - b1) g| (median)", "checkpoint 10, 64 dimensions"] == 2.5
    assert value["rows without a finite gradient", "checkpoint 20"] == 1
    assert ("row without a finite gradient", "checkpoint 20: lost") in value


def test_both_ends_are_shown_with_their_text():
    messages = [{"role": "user", "content": "x" * 500}, {"role": "assistant", "content": "y"}]
    train = pl.DataFrame({"example_id": IDS, "messages": [messages] * 20}).lazy()
    shown = extreme_examples(pl.Series(IDS), {"a": RISING, "b": -RISING}, train)
    of_a = shown[shown.target == "a"]
    assert of_a["rank"].tolist() == [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]
    assert of_a["example_id"].tolist()[:2] == ["e19", "e18"]
    assert shown[shown.target == "b"]["example_id"].tolist()[0] == "e00"
    assert shown["text"][0] == "user: " + "x" * 294 + " ... | assistant: y"
    few = extreme_examples(pl.Series(IDS[:3]), {"a": RISING[:3]}, train)
    assert few["rank"].tolist() == [0, 1, 2]


def test_the_figure_draws_names_as_they_are():
    with np.errstate(all="raise"):
        figure = draw_diagnostics(tables(), pl.Series(IDS), {"a_$1$": RISING, "b": RISING}, lengths().head(20))
    written = io.BytesIO()
    figure.savefig(written, format="png")
    assert len(written.getvalue()) > 1000
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a_$1$", "b"]
    assert figure.axes[2].texts[1].get_text() == "0.00", "the agreement of the two checkpoints"
