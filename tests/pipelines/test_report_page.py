"""What choosing cost is counted from, and what the page of a study is made of."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

from pipelines.arms import ARMS
from pipelines.report.page import seconds_of, show_study
from winnow.pipeline_registry import register_pipelines
from winnow.report.compared import EXAMPLES
from winnow.stages import Finished, FinishedParts


@pytest.fixture(scope="module")
def registered() -> Iterator[dict[str, Pipeline]]:
    project = Path(__file__).resolve().parents[2]
    bootstrap_project(project)
    with KedroSession.create(project) as session:
        session.load_context()
        yield register_pipelines()


def chosen_with(registered: dict[str, Pipeline], arm: str) -> set[str]:
    node = next(node for node in registered[arm].nodes if node.name == f"{arm}.tell_selection")
    return set(node.inputs) - {f"{arm}.weights", f"{arm}.training_mix", "train"}


def test_the_choosing_is_what_lies_between_the_tokens_and_the_ranking(registered: dict[str, Pipeline]):
    for arm in ("all", "random", "length"):
        assert chosen_with(registered, arm) == set()
    assert {"less_checkpoints", "train_gradients", "scores"} <= chosen_with(registered, "less")
    assert "proxy_checkpoints" not in chosen_with(registered, "less")
    assert {"proxy_checkpoints", "losses", "clusters"} <= chosen_with(registered, "s2l")
    assert "row_scores" in chosen_with(registered, "ifd")
    for arm, spec in ARMS.items():
        if spec.size != "none":
            assert not chosen_with(registered, arm) & {"tokens", "held_out", "base_model", f"{arm}.model"}, arm


def finished(name: str, seconds: float, stage: str = "warmup") -> Finished:
    return Finished(stage, name, Path(name), cost={"seconds": seconds})


def test_a_directory_is_counted_once_and_a_model_that_is_given_not_at_all():
    parts = FinishedParts({"0": finished("a", 1.0), "1": finished("b", 2.0)})
    table = finished("c", 4.0).path
    results = (parts, finished("b", 2.0), finished("c", 4.0), finished("base", 100.0, "base"), table)
    assert seconds_of(results) == 7.0
    assert seconds_of(()) == 0.0


def test_each_arm_is_shown_with_what_belongs_to_it():
    comparison = pd.DataFrame(
        {
            "study": "demo",
            "settings": ["old", "new", "new"],
            "arm": ["gone", "base", "less"],
            "control": ["", "", "random"],
            "seeds": [1, 1, 5],
            "versus_control": ["", "", "better than random by 9.0 ± 1.0 points"],
        }
    )
    examples = pd.DataFrame([("top", 1, 0.5, 1, "math/a:0", "user: how much?")], columns=EXAMPLES)
    base = [{"params": {"arm.strategy": "none"}}, {"evaluate/accuracy": 0.125}, {"benchmarks/gsm8k/acc": 0.0625}]
    less = [{"params": {"arm.strategy": "less"}}, {"evaluate/accuracy": 0.875}, {"benchmarks/gsm8k/acc": 0.9375}]
    chose = [{"cost/choosing_seconds": 77.0, "selection/rows/math": 3.0}, examples]
    page, _ = show_study((ARMS["base"], ARMS["less"]), True)(comparison, {"split": {"seed": 4}}, *base, *less, *chose)
    for part in ("Study demo", "better than random by 9.0", "12.5", "87.5", "0.062", "0.938", "77 s", "how much?"):
        assert part in page, part
    assert "gone" not in page.split("application/json")[0]
    assert "<code>split.seed</code></th><td>4" in page


def test_an_arm_that_another_run_has_not_saved_is_left_out_of_the_page():
    comparison = pd.DataFrame({"study": "demo", "settings": "new", "arm": ["less"], "control": [""], "seeds": [5]})
    base = [{"params": {}}, {"evaluate/accuracy": 0.125}]
    less = [{"params": {}}, {"evaluate/accuracy": 0.875}]
    chose = [{"cost/choosing_seconds": 77.0}, pd.DataFrame([], columns=EXAMPLES)]
    page, _ = show_study((ARMS["base"], ARMS["less"]), False)(comparison, {}, *base, *less, *chose)
    assert "87.5" in page
    assert "77 s" in page
    assert "12.5" not in page.split("application/json")[0]
