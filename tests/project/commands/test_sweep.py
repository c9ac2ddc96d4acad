"""`kedro sweep`: what it refuses, what it runs, and that it never looks at held-out rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from pipelines import requested
from pipelines.arms import ARMS
from winnow import settings, tracking
from winnow.cli import sweep
from winnow.commands import sweep as command
from winnow.commands.recipes import RECIPES
from winnow.errors import BadSetting, WorkerFailed
from winnow.pipeline_registry import register_pipelines
from winnow.recipes import read_recipe, read_sweep
from winnow.report import sweep as report

PROJECT = Path(__file__).resolve().parents[3]
LR = "finetune.lr=0.1,0.2,0.3"


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bootstrap_project(PROJECT)
    monkeypatch.setattr(requested, "_requested", ())
    monkeypatch.setattr(settings, "DATA_ROOT", tmp_path)
    monkeypatch.setenv("WINNOW_TRACKING", "off")
    monkeypatch.setattr(command, "_run", lambda asked, values: reached(values))


def reached(values: dict[str, Any]) -> report.Result:
    """The nearer to 0.2 the learning rate, the better."""
    loss = 1 + abs(values.get("finetune.lr", 0) - 0.2)
    losses = loss + np.linspace(0, 1, 20) + 0.001 * np.arange(2)[:, None]
    return report.Result(losses, np.ones((2, 20)), tuple(map(str, range(20))), 1.0, 0.5)


def call(*arguments: str, code: int = 0) -> str:
    result: Result = CliRunner().invoke(sweep, arguments, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def recipe(folder: Path, **content: Any) -> str:
    path = folder / "mine.yml"
    path.write_text(yaml.safe_dump({"run": {}, **content}, sort_keys=False), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Nothing to sweep"),
        (("finetune.lrr=1,2",), "There is no parameter `finetune.lrr`. Did you mean `lr`?"),
        (("finetune.lr=0.1,-2",), "`finetune.lr` is -2: it should be greater than 0"),
        (("finetune.lr",), "should be `KEY=VALUE,VALUE`"),
        (("evaluate.split=held_out",), "cannot be swept"),
        ((LR, "--pipeline", "rendom"), "--pipeline rendom: a sweep needs an arm that trains. Known: all, random"),
        ((LR, "--pipeline", "base"), "--pipeline base: a sweep needs an arm that trains"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(arguments: tuple[str, ...], said: str):
    output = call(*arguments, code=1)
    assert said in output
    assert "[1/" not in output


def test_a_parameter_that_the_arm_overrides_is_refused_wherever_it_does(tmp_path: Path):
    own = {"arms": {"random": {"finetune": {"lr": 0.5}}}}
    for arguments in (
        (LR, "--params", "arms.random.finetune.lr=0.5"),
        (LR, "--config", recipe(tmp_path, run={"params": own})),
        (LR, "arms.random.finetune.lr=0.5,0.6"),
    ):
        output = call(*arguments, code=1)
        assert "`finetune.lr` cannot be swept: `arms.random.finetune.lr` is set" in output
        assert "[1/" not in output
    call(LR, "--params", "arms.less.finetune.lr=0.5")
    call("arms.random.finetune.lr=0.5,0.6")


def test_models_are_ranked_on_their_common_rows_by_accuracy_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(asked: command.Sweep, values: dict[str, Any]) -> report.Result:
        found = reached({})
        right = np.arange(20) < 10 + len(values["model.base"])
        rows = 20 if values["model.base"] == "aa" else 15
        kept = report.Result(found.losses, np.tile(right, (2, 1)).astype(float), found.rows, 1.0, 0.5)
        return kept.of_rows(found.rows[:rows])

    monkeypatch.setattr(command, "_run", run)
    output = call("model.base=a,aa,aaa,aaaa", "--by", "accuracy")
    assert "5 rows are left out" in output
    assert "Best by accuracy: model.base=aaaa." in output
    assert "By validation loss" not in output
    assert "validation loss goes" not in output
    (folder,) = (tmp_path / "08_reporting" / "sweeps").iterdir()
    assert not (folder / "loss_and_accuracy.png").exists()


def test_settings_that_gave_the_same_answers_are_one_point_of_the_correlation():
    output = call("finetune.batch=8,16,32,64")
    assert "Validation loss and accuracy: 1 settings" in output


def test_settings_that_do_not_fit_each_other_are_refused_before_anything_runs():
    assert "exactly one of" in call("budget.rows=10,20", "budget.share=0.1", code=1)


def test_a_sweep_asks_validation_rows_whatever_the_parameters_say(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(command, "_run", lambda asked, values: seen.append(asked.params(values)) or reached(values))
    output = call(LR, "--params", "evaluate.split=held_out,finetune.batch=8")
    assert "ranked on the validation rows" in output
    assert [params["evaluate"]["split"] for params in seen] == ["validation"] * 3
    assert [params["finetune"]["lr"] for params in seen] == [0.1, 0.2, 0.3]
    assert {params["finetune"]["batch"] for params in seen} == {8}


def test_no_node_of_any_arms_sweep_loads_held_out_rows():
    with KedroSession.create(PROJECT, runtime_params=command.FORCED) as session:
        session.load_context()
        registered = register_pipelines()
    arms = [name for name in ARMS if ARMS[name].size != "none" and name in registered]
    assert len(arms) > 10
    for arm in arms:
        nodes = registered[arm].to_nodes(*command.last_nodes(arm)).nodes
        assert f"{arm}.evaluate" in {node.name for node in nodes}
        assert not [node.name for node in nodes if "held_out" in node.inputs], arm


def test_the_best_comes_first_with_the_command_that_runs_it_on_held_out_rows(tmp_path: Path):
    output = call(LR, "--params", "finetune.batch=8,evaluate.split=validation", "--env", "test")
    assert "Best by validation loss: finetune.lr=0.2." in output
    command_line = (
        "kedro run --pipelines random --env test --params finetune.batch=8,evaluate.split=held_out,finetune.lr=0.2"
    )
    assert command_line in output
    (folder,) = (tmp_path / "08_reporting" / "sweeps").iterdir()
    assert {file.name for file in folder.iterdir()} == {
        "sweep.csv", "sweep.json", "sweep.png", "loss_and_accuracy.png", "summary.txt",
    }  # fmt: skip
    table = pd.read_csv(folder / "sweep.csv")
    assert table["finetune.lr"].tolist()[0] == 0.2
    assert table["loss"].tolist() == sorted(table["loss"])


def test_a_failing_setting_is_noted_with_its_reason_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def run(asked: command.Sweep, values: dict[str, Any]) -> report.Result:
        if values["finetune.lr"] == 0.1:
            raise WorkerFailed("The worker ended.\nCommand: x\ntorch.OutOfMemoryError: CUDA out of memory")
        if values["finetune.lr"] == 0.2:
            raise ZeroDivisionError("a fault of the program")
        return reached(values)

    monkeypatch.setattr(command, "_run", run)
    output = call(LR)
    assert "failed: The worker ended.\n  torch.OutOfMemoryError: CUDA out of memory" in output
    (file,) = tmp_path.glob("08_reporting/sweeps/*/sweep.csv")
    reasons = pd.read_csv(file).set_index("finetune.lr")["reason"]
    assert "out of memory" in reasons[0.1]
    assert reasons[0.2] == "ZeroDivisionError: a fault of the program"
    assert pd.isna(reasons[0.3])


def test_where_nothing_came_to_an_end_the_reason_is_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def run(asked: command.Sweep, values: dict[str, Any]) -> report.Result:
        raise BadSetting("no such folder")

    monkeypatch.setattr(command, "_run", run)
    assert "No setting came to an end. The first: no such folder" in call(LR, code=1)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_ends_the_sweep_and_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch):
    ended = []
    monkeypatch.setattr(tracking, "end_killed", lambda: ended.append("KILLED"))

    def run(asked: command.Sweep, values: dict[str, Any]) -> report.Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", run)
    output = call(LR, code=130)
    assert "[2/3]" not in output
    assert "the same command goes on" in output
    assert ended == ["KILLED"]


def test_where_accuracy_tells_nothing_the_loss_ranks_and_it_is_said():
    assert "All settings have the same accuracy: they are ranked by validation loss." in call(LR)
    assert "same accuracy" not in call(LR, "--by", "loss")


def test_the_same_command_writes_to_the_same_folder_and_another_to_another(tmp_path: Path):
    def folders() -> set[str]:
        return {path.name for path in (tmp_path / "08_reporting" / "sweeps").iterdir()}

    call(LR)
    first = folders()
    call("finetune.lr=0.3,0.2,0.1", "--by", "loss")
    assert folders() == first
    call(LR, "--params", "finetune.batch=8")
    call("finetune.lr=0.1,0.2")
    assert len(folders()) == 3


def test_a_sample_runs_so_many_settings():
    assert "[2/2]" in call(LR, "finetune.batch=8,16", "--sample", "2")


def test_a_recipe_says_what_is_swept_and_the_command_line_wins(tmp_path: Path):
    given = {"grid": {"finetune.lr": [0.1, "2e-1"], "finetune.batch": [8]}, "pipeline": "all", "by": "accuracy"}
    path = recipe(tmp_path, run={"params": {"finetune": {"steps": 7}}}, sweep=given)
    output = call("--config", path)
    assert "2 settings of all" in output
    assert "[2/2] finetune.lr=0.2,finetune.batch=8" in output
    assert "same accuracy" in output
    assert f"kedro run --pipelines all --config {path} --params finetune.lr=0.2,finetune.batch=8\n" in output
    output = call("--config", path, LR, "--pipeline", "random", "--by", "loss")
    assert "3 settings of random" in output
    assert "same accuracy" not in output


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"grid": {}}, "sweep.grid"),
        ({"grid": {"finetune.lr": 0.1}}, "`sweep.grid.finetune.lr` is 0.1"),
        ({"grid": {"finetune.lr": [0.1]}, "pipelin": "random"}, "Did you mean `pipeline`?"),
        ({"grid": {"finetune.lr": [0.1]}, "by": "speed"}, "it should be 'accuracy' or 'loss'"),
    ],
)
def test_a_bad_section_of_a_recipe_is_refused(tmp_path: Path, section: dict[str, Any], said: str):
    output = call("--config", recipe(tmp_path, sweep=section), code=1)
    assert said in output
    assert "mine.yml" in output


def test_a_recipe_of_a_sweep_is_one_of_a_run_too(tmp_path: Path):
    path = recipe(tmp_path, run={"pipelines": "random"}, sweep={"grid": {"finetune.lr": [0.1]}})
    assert read_recipe(path) == {"pipelines": "random"}


def test_the_recipe_of_learning_rates_tries_all_of_them_with_both_methods():
    grid = read_sweep(RECIPES / "lr_transfer.yml")["grid"]
    assert grid["finetune.method"] == ["lora", "full"]
    output = call("--config", str(RECIPES / "lr_transfer.yml"))
    assert f"[1/{2 * len(grid['finetune.lr'])}]" in output
    assert "finetune.method=full: best finetune.lr" in output
