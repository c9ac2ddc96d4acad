"""Arms beside the base model: means over seeds, intervals where there is something to reckon them from."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from winnow.report.benchmarks import benchmark_metrics, benchmark_table, draw_benchmarks, shown_samples
from winnow.report.statistics import difference_from_fixed
from winnow.stages import FinishedParts, Work, locate

SIZES = {"small": 20, "large": 60}


def evaluated(
    root: Path, name: str, seeds: list[dict[str, np.ndarray]], by_size: bool = True, fixed: str = ""
) -> FinishedParts:
    """Answers [right or wrong] to two tasks and their average; a fixed one is asked without examples."""
    parts = {}
    for seed, answers in enumerate(seeds):
        means = {task: rows.mean() for task, rows in answers.items()}
        whole = np.concatenate(list(answers.values())).mean() if by_size else np.mean(list(means.values()))
        scores = [
            (task, 0 if task == fixed else 5, "acc", "none", float(value), 0.01, 0, True)
            for task, value in {**means, "both": whole}.items()
        ]
        names = ["task", "n_shot", "metric", "filter", "value", "stderr", "n", "higher_is_better"]
        rows = [
            {"task": task, "n_shot": 0 if task == fixed else 5, "filter": "none", "doc_id": row, "doc": "{}"}
            | {"prompt": "q" * 900, "response": "r", "filtered": "r", "target": "t", "acc": float(right)}
            for task, found in answers.items()
            for row, right in enumerate(found)
        ]
        members = [("both", task) for task in answers]
        with Work.resume(locate(root, name, 1, {"seed": seed, "by_size": by_size, "fixed": fixed}, {})) as work:
            tables = {"scores": pl.DataFrame(scores, schema=names, orient="row"), "samples": pl.DataFrame(rows)}
            tables["groups"] = pl.DataFrame(members, schema=["group", "task"], orient="row")
            parts[str(seed)] = work.finish({"tables": work.commit_tables(tables)}, {})
    return FinishedParts(parts)


def answers(seed: int, share: float) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {task: draw.random(size) < share for task, size in SIZES.items()}


@pytest.fixture
def found(tmp_path: Path) -> dict[str, FinishedParts]:
    tuned = [answers(seed, 0.7) for seed in range(1, 4)]
    return {"base": evaluated(tmp_path, "base", [answers(0, 0.4)]), "all": evaluated(tmp_path, "all", tuned)}


def test_a_row_has_the_mean_over_seeds_and_the_difference_from_the_base_model(found: dict[str, FinishedParts]):
    table = benchmark_table(found)
    assert list(table[["arm", "task"]].itertuples(index=False, name=None))[:2] == [("base", "both"), ("all", "both")]
    row = table[(table.arm == "all") & (table.task == "large")].iloc[0]
    matrix = np.stack([answers(seed, 0.7)["large"] for seed in range(1, 4)]).astype(float)
    fixed = answers(0, 0.4)["large"].astype(float)
    assert row.value == pytest.approx(matrix.mean())
    assert row.base == pytest.approx(fixed.mean())
    assert row.difference == pytest.approx(matrix.mean() - fixed.mean())
    assert row.difference_ci == pytest.approx(difference_from_fixed(matrix, fixed).half_width)
    assert row.seeds_sd == pytest.approx(matrix.mean(axis=1).std(ddof=1))
    assert (row.seeds, row.part_of) == (3, "both")
    whole = table[(table.arm == "all") & (table.task == "both")].iloc[0]
    assert whole.difference_ci < row.difference_ci, "the average is over more rows"


def test_what_is_no_mean_over_rows_or_of_one_seed_has_no_interval(tmp_path: Path):
    base = evaluated(tmp_path, "base", [answers(0, 0.4)], by_size=False)
    several = evaluated(tmp_path, "several", [answers(1, 0.7), answers(2, 0.7)], by_size=False)
    one = evaluated(tmp_path, "one", [answers(1, 0.7)], by_size=False)
    table = benchmark_table({"base": base, "several": several, "one": one}).set_index(["arm", "task"])
    assert np.isnan(table.loc[("several", "both"), "difference_ci"])
    assert table.loc[("several", "large"), "difference_ci"] > 0
    assert np.isnan(table.loc[("one", "large"), "difference_ci"])
    assert table.loc[("several", "both"), "difference"] > 0


def test_an_average_is_over_its_task_with_a_fixed_count_of_examples_too(tmp_path: Path):
    tuned = [answers(seed, 0.7) for seed in range(1, 4)]
    found = {"base": [answers(0, 0.4)], "all": tuned}
    same = benchmark_table({arm: evaluated(tmp_path, arm, seeds) for arm, seeds in found.items()})
    mixed = benchmark_table({arm: evaluated(tmp_path, arm, seeds, fixed="small") for arm, seeds in found.items()})
    whole = [table.set_index(["arm", "task"]).loc[("all", "both")] for table in (same, mixed)]
    assert whole[1].difference_ci == pytest.approx(whole[0].difference_ci)
    assert whole[1].n_shot == 5


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    hits = 0
    for trial in range(400):
        draw = np.random.default_rng(trial)
        hard = draw.random(200)
        # Seeds differ from one another, rows are of different difficulty, and the base model is the same each time.
        arm = (draw.random((4, 200)) < (0.3 + 0.4 * hard + draw.normal(0, 0.03, 4)[:, None])).astype(float)
        base = (draw.random(200) < 0.1 + 0.4 * hard).astype(float)
        found = difference_from_fixed(arm, base)
        hits += abs(found.mean - 0.2) <= found.half_width
    assert 0.92 <= hits / 400 <= 0.99


def test_metrics_samples_and_figure(found: dict[str, FinishedParts]):
    metrics = benchmark_metrics(found["all"])
    assert metrics["benchmarks/both/5-shot/acc_stderr"] == pytest.approx(0.01)
    assert {"benchmarks/small/5-shot/acc", "benchmarks/large/5-shot/acc"} < set(metrics)
    shown = shown_samples(found["all"])
    assert shown.task.value_counts().to_dict() == {"small": 10, "large": 10}
    assert shown.prompt.str.len().max() == 500
    figure = draw_benchmarks(benchmark_table(found))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["both, 5-shot\nacc"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["base", "all"]


def test_each_task_has_answers_to_be_read_however_many_tasks_there_are(tmp_path: Path):
    many = {f"task_{number:03}": np.ones(12) for number in range(150)}
    shown = shown_samples(FinishedParts({"0": evaluated(tmp_path, "many", [many]).parts["0"]}))
    assert shown.task.value_counts().to_dict() == dict.fromkeys(many, 6)
    assert shown.groupby("task").doc_id.max().eq(5).all(), "the first ones"
