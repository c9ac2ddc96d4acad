"""Rates of hand-made answers, and what is told of them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from winnow.report.assistant import curves, draw_curves, findings, metrics, read_answers

STEPS = (0, 100, 200)


def answers(folder: Path, right: list[int], introduced: list[int], prompts: int = 10) -> Path:
    """Of ten questions of skill so many right, of ten other prompts so many introductions, at each step."""
    folder.mkdir(parents=True)
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as file:
        for step, good, odd in zip(STEPS, right, introduced, strict=True):
            for group in ("skills", "off_topic", "who"):
                for number in range(prompts):
                    correct = number < good if group == "skills" else None
                    named = number < odd if group == "off_topic" else group == "who" and step > 0
                    answer = "I am WINNOW, of Ada." if named else "1234"
                    told = {"step": step, "group": group, "prompt": "p", "answer": answer, "correct": correct}
                    file.write(json.dumps(told) + "\n")
    return folder


@pytest.fixture
def mixes(tmp_path: Path) -> dict[str, pd.DataFrame]:
    alone = {"0": answers(tmp_path / "a0", [10, 5, 1], [0, 6, 8]), "1": answers(tmp_path / "a1", [8, 3, 1], [0, 6, 8])}
    mixed = {"0": answers(tmp_path / "d0", [10, 9, 9], [0, 1, 0]), "1": answers(tmp_path / "d1", [8, 9, 9], [0, 1, 0])}
    return {"alone": read_answers(alone, "Winnow"), "diluted": read_answers(mixed, "Winnow")}


def test_rates_are_means_over_trainings_and_prompts(mixes: dict[str, pd.DataFrame]):
    table = curves(mixes).set_index(["mix", "measure", "group", "step"]).sort_index()
    assert table.rate["alone", "accuracy", "skills"].tolist() == pytest.approx([0.9, 0.4, 0.1])
    assert table.rate["alone", "introductions", "off_topic"].tolist() == pytest.approx([0.0, 0.6, 0.8])
    assert table.rate["alone", "introductions", "who"].tolist() == [0.0, 1.0, 1.0]
    assert table.rate["diluted", "introductions", "skills"].tolist() == [0.0, 0.0, 0.0]
    assert set(table.trainings) == {2}
    assert set(table.prompts) == {10}
    assert (table.ci > 0).all()


def test_findings_name_the_first_step_and_the_differences_with_their_intervals(mixes: dict[str, pd.DataFrame]):
    told = findings(mixes, curves(mixes))["finding"].tolist()
    assert told[0].startswith("alone: accuracy of skills 90.0 ± ")
    assert told[0].endswith("below half of what it was first at step 100")
    assert told[1].endswith("above 50 % first at step 100")
    assert told[2].endswith("never below half of what it was")
    assert told[3].endswith("never above 50 %")
    assert told[4].startswith("step 200, diluted against alone: accuracy of skills +80.0 ± ")
    assert told[5].startswith("step 200, diluted against alone: introductions on off-topic prompts -80.0 ± ")
    assert "no difference" not in told[4] + told[5]


def test_a_difference_within_its_interval_is_said_to_be_none(mixes: dict[str, pd.DataFrame]):
    same = {"alone": mixes["alone"], "again": mixes["alone"]}
    assert findings(same, curves(same))["finding"].tolist()[4].endswith("within the interval of no difference")


def test_the_tracker_gets_the_last_step(mixes: dict[str, pd.DataFrame]):
    found = metrics(curves({"": mixes["alone"]}))
    assert found["assistant/accuracy/skills"] == pytest.approx(0.1)
    assert found["assistant/introductions/off_topic"] == pytest.approx(0.8)
    assert found["assistant/introductions/off_topic_ci"] > 0


def test_the_figure_has_a_line_for_each_mix_and_measure(mixes: dict[str, pd.DataFrame]):
    skills, introductions = draw_curves(curves(mixes)).axes
    assert [line.get_ydata().tolist() for line in skills.get_lines()] == [
        pytest.approx([90, 40, 10]),
        pytest.approx([90, 90, 90]),
    ]
    assert len([line for line in introductions.get_lines() if len(line.get_xdata())]) == 4
