"""Figures of the influence matrix: of every shape, with labels that do not cover each other."""

import math
import warnings
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from winnow.influence.analysis import Asymmetry
from winnow.influence.figures_of_merit import Analysis, analyse
from winnow.influence.values import Values
from winnow.report.heatmap import shortened, unit_of
from winnow.report.influence_matrix import draw_analysis, draw_asymmetry, draw_matrix, ends

SQUARE = {"domain_means.png", "intra_and_inter.png", "components.png", "asymmetry.png", "correlations.png"}
ALWAYS = {"heatmap_without_average.png", "average_ranking.png", "total_ranking.png", "average_and_mean.png"}
LONG = "validation folder/part-{:05}-of-00020.parquet"


def analysis(domains: list[str], clusters: list[str], errors: float = 0.01) -> Analysis:
    values = np.random.default_rng(0).normal(0, 0.05, (len(domains), len(clusters)))
    cells = pl.concat(
        pl.DataFrame({"domain": name, "cluster": clusters, "rows": 7, "influence": row, "error": errors})
        for name, row in zip([*domains, "average"], [*values, values.mean(axis=0)], strict=True)
    )
    groups = pl.DataFrame({"example_id": [f"{name.split('/')[0]}/a.jsonl:0" for name in clusters], "cluster": clusters})
    return analyse(cells, groups)


def names(domains: int, clusters: int) -> tuple[list[str], list[str]]:
    subsets = [f"subset {number}" for number in range(domains)]
    return subsets, [f"{subsets[number % domains]}/{number}" for number in range(clusters)]


def pictures(found: Analysis) -> dict[str, Figure]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {"heatmap.png": draw_matrix(found.matrix), **draw_analysis(found)}


def assert_readable(figure: Figure) -> None:
    """Tick labels lie within the figure and do not overlap; slanted ones are a line's height apart."""
    for axes in figure.axes:
        for side, axis in enumerate((axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
            labels = [label for place, label in ticks if low <= place <= high and label.get_text()]
            boxes = [label.get_window_extent() for label in labels]
            assert all(box.x0 > -2 and box.y0 > -2 for box in boxes)
            spans = sorted((box.x0, box.x1) if side == 0 else (box.y0, box.y1) for box in boxes)
            if any(label.get_rotation() for label in labels):
                height = labels[0].get_fontsize() * figure.dpi / 72
                spans = sorted((box.x1 - height, box.x1) for box in boxes)
            assert all(one[1] <= other[0] + 1 for one, other in pairwise(spans))


@pytest.mark.parametrize("errors", [0.01, math.nan])
@pytest.mark.parametrize("shape", [(3, 24), (20, 200)])
def test_every_figure_is_made_and_its_labels_can_be_read(shape: tuple[int, int], errors: float):
    made = pictures(analysis(*names(*shape), errors))
    assert set(made) == {"heatmap.png"} | ALWAYS | SQUARE
    for figure in made.values():
        assert_readable(figure)
        assert max(figure.get_size_inches()) < 25


@pytest.mark.parametrize(
    ("shape", "missing"), [((1, 1), SQUARE - {"domain_means.png"}), ((2, 2), {"correlations.png"})]
)
def test_what_a_small_matrix_does_not_have_is_left_out(shape: tuple[int, int], missing: set[str]):
    assert set(pictures(analysis(*names(*shape)))) == {"heatmap.png"} | ALWAYS | SQUARE - missing


def test_other_names_than_subsets_and_long_ones_are_drawn():
    found = analysis([LONG.format(number) for number in range(6)], [str(number) for number in range(30)])
    made = pictures(found)
    assert not {"intra_and_inter.png", "asymmetry.png"} & set(made)
    for figure in made.values():
        assert_readable(figure)


def test_all_colours_are_centred_at_zero():
    made = pictures(analysis(*names(3, 24)))
    scales = [image.get_clim() for figure in made.values() for axes in figure.axes for image in axes.images]
    assert len(scales) == 5
    assert all(low == -high for low, high in scales)


def test_the_average_row_is_in_one_heatmap_and_not_in_the_other():
    made = pictures(analysis(*names(3, 5)))
    rows = [
        [label.get_text() for label in made[name].axes[0].get_yticklabels()]
        for name in ("heatmap.png", "heatmap_without_average.png")
    ]
    assert rows[0] == [*rows[1], "average"]


def test_of_many_clusters_both_ends_are_shown_and_said():
    figure = pictures(analysis(*names(3, 100)))["average_ranking.png"]
    assert "top 15 and bottom 15; 70 between are left out" in figure.axes[0].get_title()
    assert len(figure.axes[0].get_yticklabels()) == 30
    assert ends(np.array([1.0, 5, 2, 4, 3]), 4) == ([1, 3, 2, 0], 1)
    assert ends(np.array([1.0, 5]), 4) == ([0, 1], 0)


def test_the_asymmetry_of_many_names_is_a_list_of_pairs():
    labels = [f"name {number}" for number in range(40)]
    values = np.random.default_rng(0).normal(size=(40, 40))
    figure = draw_asymmetry(
        Asymmetry(0.5, 0.1, 0.2, Values(labels, labels, values - values.T, values * 0 + 1), "clusters")
    )
    assert len(figure.axes[0].get_yticklabels()) == 30
    assert_readable(figure)


def test_short_names_stay_different_and_units_are_powers_of_ten():
    short = shortened([LONG.format(number) for number in range(20)])
    assert len(set(short.values())) == 20
    assert max(map(len, short.values())) <= 32
    assert shortened(["math/0", "law"]) == {"math/0": "math/0", "law": "law"}
    assert unit_of(0.02) == (1.0, "")
    assert unit_of(2e-5) == (pytest.approx(1e5), " (in 1e-5)")
