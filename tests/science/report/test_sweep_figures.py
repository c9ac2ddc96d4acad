"""Figures of sweeps show every setting, in the kind that fits the grid."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from winnow.report.sweep_figures import draw_relation, draw_sweep
from winnow.report.sweep_relation import relate
from winnow.sweeps import combinations


def table(grid: dict[str, list[Any]]) -> pd.DataFrame:
    """The later in the grid, the better; the last of all failed."""
    settings = combinations(grid)
    rows = [
        {"rank": len(settings) - place, **values, "loss": 3 - 0.1 * place, "loss_ci": 0.05, "accuracy": 0.05 * place}
        for place, values in enumerate(settings)
    ]
    rows[-1] = {"rank": None, **settings[-1]}
    return pd.DataFrame(rows).assign(accuracy_ci=0.01).astype({"rank": "Int64"})


def test_one_number_is_a_line_over_a_logarithmic_axis():
    grid = {"finetune.lr": [0.001, 0.002, 0.003, 0.004]}
    panel = draw_sweep(table(grid), grid, "loss").axes[0]
    assert panel.get_xscale() == "log"
    assert list(panel.lines[0].get_xdata()) == [0.001, 0.002, 0.003]
    assert list(panel.lines[0].get_ydata()) == pytest.approx([3.0, 2.9, 2.8])
    assert panel.get_ylabel() == "validation loss"


def test_a_line_runs_from_left_to_right_in_whatever_order_values_were_typed():
    grid = {"finetune.batch": [32, 8, 16, 64]}
    assert list(draw_sweep(table(grid), grid, "loss").axes[0].lines[0].get_xdata()) == [8, 16, 32]


def test_a_choice_becomes_lines_with_the_best_of_each_marked():
    grid = {"finetune.method": ["lora", "full"], "finetune.lr": [0.001, 0.01, 0.1]}
    panel = draw_sweep(table(grid), grid, "loss").axes[0]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "finetune.method=lora",
        "finetune.method=full",
    ]
    stars = [line for line in panel.lines if line.get_marker() == "*"]
    assert [line.get_xdata()[0] for line in stars] == [0.1, 0.01]
    assert panel.get_xlabel() == "finetune.lr"


def test_two_numbers_are_a_heatmap_with_a_hole_for_what_failed():
    grid = {"finetune.lora.rank": [4, 8], "finetune.lr": [0.1, 0.01]}
    panel = draw_sweep(table(grid), grid, "accuracy").axes[0]
    cells = np.asarray(panel.images[0].get_array(), dtype=float)
    assert cells[0].tolist() == pytest.approx([5.0, 0.0])
    assert np.isnan(np.ma.filled(panel.images[0].get_array(), np.nan)).sum() == 1
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0.01", "0.1"]


def test_more_parameters_have_a_panel_each_with_the_best_of_each_value():
    grid = {"finetune.lr": [0.1, 0.01], "finetune.batch": [8, 16], "finetune.lora.targets": ["all-linear", ["q_proj"]]}
    panels = draw_sweep(table(grid), grid, "loss").axes
    assert [panel.get_xlabel() for panel in panels] == list(grid)
    assert len(panels[0].lines[0].get_xdata()) == 7
    assert list(panels[1].lines[1].get_ydata()) == pytest.approx([2.5, 2.4])
    assert [label.get_text() for label in panels[2].get_xticklabels()] == ["all-linear", "[q_proj]"]


def test_loss_and_accuracy_has_a_point_for_each_setting_and_says_what_it_shows():
    grid = {"finetune.lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    rows = table(grid)
    done = rows.dropna(subset=["rank"])
    panel = draw_relation(rows, relate(done["loss"].to_numpy(), done["accuracy"].to_numpy())).axes[0]
    assert len(panel.lines[0].get_xdata()) == 5
    assert [text.get_text() for text in panel.texts] == ["6", "5", "4", "3", "2"]
    assert "Spearman -1.00" in panel.get_title().replace("\n", " ")
