"""Where overfitting starts, on losses by hand; what answers say; and that the figure has what it tells."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from winnow.report.course import (
    course_metrics,
    course_of,
    draw_course,
    overfitting_step,
    read_losses,
    read_samples,
    shown_samples,
    verdict,
)


def losses(means: dict[int, float], noise: float = 0.05, rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    own = random.normal(0, 0.5, rows)
    table = {step: mean + own + random.normal(0, noise, rows) for step, mean in means.items()}
    return pd.DataFrame(table, index=pd.Index([f"row-{n}" for n in range(rows)], name="example_id")).T.rename_axis(
        "step"
    )


def test_overfitting_starts_where_validation_loss_is_least():
    assert overfitting_step(losses({0: 3.0, 10: 1.0, 20: 0.8, 30: 0.9, 40: 1.1})) == 20


def test_a_loss_that_falls_to_the_end_is_no_overfitting():
    falling = losses({0: 3.0, 10: 1.0, 20: 0.8, 30: 0.7})
    assert overfitting_step(falling) is None
    assert "falls to the end" in verdict(falling)


def test_noise_is_not_taken_for_overfitting():
    """A curve that stays flat: in at most one of twenty is the end found to be higher than the least."""
    random = np.random.default_rng(1)
    found = 0
    for _ in range(400):
        flat = pd.DataFrame(random.normal(1, 0.3, (6, 50)), index=range(6))
        found += overfitting_step(flat) is not None
    assert found <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_one_row_or_one_step_tells_nothing():
    assert overfitting_step(losses({0: 1.0})) is None
    assert overfitting_step(losses({0: 1.0, 10: 2.0}, rows=1)) is None
    assert "not measured" in verdict(pd.DataFrame())


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        told = [
            {"step": step, "group": group, "prompt": prompt, "answer": answer, "expected": expected}
            | {"correct": None if expected is None else answer == expected, "repetition": 0.5, "distinct_2": 0.25}
            for step, answer in ((0, "a"), (10, "b"))
            for group, prompt, expected in (("skills", "q", "b"), ("off", "who", None))
        ]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
        table = pd.DataFrame({"step": [0, 0, 10, 10], "example_id": ["x", "y"] * 2, "loss": [4.0, 2.0, 1.0, seed]})
        table.to_parquet(folder / "validation.parquet")
    return {str(seed): tmp_path / str(seed) for seed in (0, 1)}


def test_the_course_is_the_mean_over_seeds_and_rows(folders: dict[str, Path]):
    measured, samples = read_losses(folders), read_samples(folders)
    course = course_of(measured, samples)
    assert course["step"].tolist() == [0, 10]
    assert course["validation_loss"].tolist() == [3.0, 0.75]
    assert course["correct/skills"].tolist() == [0.0, 1.0]
    assert course["same_answer"].tolist() == [1.0, 1.0]
    assert course_metrics(course, measured)["course/best_step"] == 10
    assert shown_samples(samples)["step"].tolist() == [0, 10, 0, 10]


def test_losses_or_answers_alone_make_a_course(folders: dict[str, Path]):
    measured, samples = read_losses(folders), read_samples(folders)
    assert "validation_loss" not in course_of(pd.DataFrame(), samples)
    assert "repetition" not in course_of(measured, pd.DataFrame())
    assert "course/best_step" not in course_metrics(course_of(pd.DataFrame(), samples), pd.DataFrame())


def test_the_figure_marks_the_step_at_which_overfitting_starts():
    measured = losses({0: 3.0, 10: 0.8, 20: 1.1})
    figure = draw_course(course_of(measured, pd.DataFrame()), measured)
    (axes,) = figure.axes
    assert [list(line.get_xdata()) for line in axes.lines][-1] == [10, 10]
    assert "overfitting starts at step 10" in figure.get_suptitle()
