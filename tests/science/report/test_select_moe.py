"""Figures of Select-MoE draw any number of subsets, layers and steps; the rows at both ends have their text."""

import io

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure

from winnow.report.select_moe import draw_layers, draw_quality, draw_warmup, extreme_rows


def scored(subsets: int, layers: int, rows: int = 400, spread: float = 0.05) -> pl.DataFrame:
    random = np.random.default_rng(0)
    subset = np.arange(rows) % subsets
    by_layer = 0.4 + 0.3 * subset[:, None] / subsets + spread * random.standard_normal((rows, layers))
    table = pl.DataFrame({
        "example_id": [f"e{number:04}" for number in range(rows)],
        "subset": [f"s_$1$_{number}" for number in subset],
        "quality": by_layer.mean(axis=1),
    })  # fmt: skip
    return table.with_columns(pl.Series(f"layer_{place}", by_layer[:, place]) for place in range(layers))


def warmed(steps: int, layers: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = {name: random.random(steps) for name in ("loss", "ce", "constraint", "trash_share")}
    table |= {f"trash_mass/layer_{place}": np.full(steps, place / 100) for place in reversed(range(layers))}
    return pd.DataFrame({"step": np.arange(steps) + 1, **table})


def drawn(figure: Figure) -> Figure:
    written = io.BytesIO()
    figure.savefig(written, format="png")
    assert len(written.getvalue()) > 1000
    return figure


@pytest.mark.parametrize(("subsets", "layers"), [(1, 1), (3, 4), (30, 16), (40, 64)])
def test_every_number_of_subsets_and_layers_is_drawn(subsets: int, layers: int):
    table = scored(subsets, layers)
    with np.errstate(all="raise"):
        spread, by_layer = drawn(draw_quality(table)), drawn(draw_layers(table))
    shown = min(subsets, 30)
    assert len(spread.axes[0].get_yticklabels()) == shown
    assert ("30 largest of 40 subsets" in spread.axes[0].get_title()) == (subsets == 40)
    assert len(by_layer.axes) == (1 if subsets == 1 else 3)


def test_subsets_stand_from_the_best_median_to_the_worst_with_their_rows():
    axes = draw_quality(scored(3, 2)).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["s_$1$_0 (134)", "s_$1$_1 (133)", "s_$1$_2 (133)"], "from the bottom up"
    medians = scored(3, 2).group_by("subset").agg(pl.median("quality")).sort("quality", descending=True)
    assert [text.get_text() for text in axes.texts] == [f"{value:.3f}" for value in medians["quality"]]


def test_rows_that_are_all_alike_and_single_rows_are_drawn():
    for table in (scored(2, 3, spread=0), scored(2, 3, rows=2), scored(1, 1, rows=1)):
        subsets = table["subset"].n_unique()
        assert len(drawn(draw_quality(table)).axes[0].get_yticklabels()) == subsets
        assert draw_layers(table).axes[0].get_lines()


def test_differences_of_subsets_are_from_the_mean_of_all_rows():
    table = scored(2, 3, spread=0)
    picture = np.asarray(draw_layers(table).axes[1].images[0].get_array())
    assert picture == pytest.approx(np.array([[0.075] * 3, [-0.075] * 3]))


@pytest.mark.parametrize(("steps", "layers"), [(1, 1), (7, 3), (300, 64)])
def test_layers_are_drawn_in_their_order_beside_the_constraints_minimum(steps: int, layers: int):
    figure = drawn(draw_warmup(warmed(steps, layers), least=0.5))
    lines = figure.axes[0].get_lines()
    assert [line.get_ydata()[0] for line in lines[:layers]] == pytest.approx([n / 100 for n in range(layers)])
    assert lines[-1].get_label() == "the constraint's minimum (0.5)"
    assert list(lines[-1].get_ydata()) == [0.5, 0.5]


def test_both_ends_have_their_subset_and_text():
    table = scored(2, 2, rows=20)
    said = [[{"role": "user", "content": "x" * 500}, {"role": "assistant", "content": name}] for name in "ab" * 10]
    train = pl.DataFrame({"example_id": table["example_id"], "messages": said}).lazy()
    shown = extreme_rows(table, train)
    assert list(shown.columns) == ["rank", "example_id", "subset", "quality", "text"]
    assert shown["rank"].tolist() == [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]
    best = table.sort("quality", descending=True)
    assert shown["example_id"].tolist() == [*best["example_id"][:5], *best["example_id"][15:]]
    assert shown["subset"][0] == "s_$1$_1"
    assert shown["text"][0] == "user: " + "x" * 294 + " ... | assistant: b"
    assert extreme_rows(table.head(3), train)["rank"].tolist() == [0, 1, 2]
