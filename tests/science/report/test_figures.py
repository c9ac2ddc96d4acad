"""Figures show every arm and domain, in any script."""

import io
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from winnow.report import figures, fonts


def comparison(domains: list[str], arms: tuple[str, ...] = ("base", "random")) -> pd.DataFrame:
    table = pd.DataFrame({"arm": list(arms)})
    for column in ["", *(f"/{domain}" for domain in domains)]:
        table[f"accuracy{column}"] = np.linspace(0.2, 0.8, len(arms))
        table[f"accuracy_ci{column}"] = 0.05
    for column in figures.COSTS:
        table[column] = 1.0
    return table


@pytest.fixture
def font_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs a font that has boxes for some characters."""

    def install(characters: str) -> None:
        names = [".notdef", *(f"c{ord(character):x}" for character in characters)]
        pen = TTGlyphPen(None)
        for point, line in (((0, 0), pen.moveTo), ((0, 500), pen.lineTo), ((500, 500), pen.lineTo)):
            line(point)
        pen.closePath()
        builder = FontBuilder(1000)
        builder.setupGlyphOrder(names)
        builder.setupCharacterMap({ord(name): f"c{ord(name):x}" for name in characters})
        builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
        builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": "Winnow Test", "styleName": "Regular"})
        builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
        builder.setupPost()
        file = tmp_path / "test.ttf"
        builder.save(file)
        entries = list(font_manager.fontManager.ttflist)
        monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
        font_manager.fontManager.addfont(file)

    return install


def test_every_domain_is_in_the_legend_and_every_arm_on_the_axis():
    domains = [f"subject {number}" for number in range(14)]
    axes = figures.draw_accuracy(comparison(domains)).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all", *domains]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["base", "random"]


def test_chinese_and_emoji_are_drawn_where_a_font_has_them(font_with):
    font_with("数学🧮")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.draw_accuracy(comparison(["数学", "🧮"]))
        figure.savefig(io.BytesIO())
    legend = figure.axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["all", "数学", "🧮"]
    assert "Winnow Test" in legend[1].get_fontfamily()


def test_a_character_without_a_font_is_named_once_and_its_labels_stay_different(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fonts, "_installed", tuple)
    fonts._warn_once.cache_clear()
    table = comparison(["代", "码"])
    with pytest.warns(UserWarning, match="fonts-noto-cjk"):
        figure = figures.draw_accuracy(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.draw_accuracy(table)
        figure.savefig(io.BytesIO())
    legend = figure.axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["all", r"\u4ee3", r"\u7801"]


def test_dollar_signs_are_text():
    figure = figures.draw_accuracy(comparison(["a$x^$b", "$ only"]))
    figure.savefig(io.BytesIO())
    assert figure.axes[0].get_legend().get_texts()[1].get_text() == "a$x^$b"


def test_drawing_leaves_the_callers_settings_alone():
    before = dict(mpl.rcParams)
    figures.draw_cost(comparison([]))
    figures.draw_losses({})
    assert dict(mpl.rcParams) == before


def test_loss_band_spans_the_seeds():
    curve = pd.DataFrame({"step": [1, 2, 1, 2], "seed": [0, 0, 1, 1], "loss": [4.0, 2.0, 2.0, 2.0]})
    axes = figures.draw_losses({"random": curve}).axes[0]
    assert list(axes.lines[0].get_ydata()) == [3.0, 2.5]
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (2.0, 4.0)


def test_the_interactive_chart_has_the_same_numbers():
    chart = figures.accuracy_chart(comparison(["math"]))
    assert [bar.name for bar in chart.data] == ["all", "math"]
    assert list(chart.data[0].y) == pytest.approx([20.0, 80.0])
    assert list(chart.data[0].error_y.array) == pytest.approx([5.0, 5.0])


@pytest.mark.parametrize("arms", [1, 4, 28, 60])
def test_a_long_legend_does_not_squeeze_what_is_drawn(arms: int):
    steps = range(20)
    curve = pd.DataFrame({"step": steps, "seed": 0, "loss": np.linspace(3.0, 1.0, len(steps))})
    figure = figures.draw_losses({f"an_arm_{number}": curve for number in range(arms)})
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    assert axes.get_position().height > 0.6
    assert legend.height <= figure.bbox.height
    assert legend.x0 >= axes.get_window_extent().x1, "it hides curves"
