"""`kedro run`: Kedro's own options, recipes under `--params`, and errors that people can read."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError

from pipelines import requested
from winnow import tracking
from winnow.commands.kindly import kindly
from winnow.commands.run import run, run_options
from winnow.errors import StaleOutput
from winnow.recipes import Recipe

RECIPE = """
run:
  pipelines: base,random
  params:
    budget: {share: 0.2}
    finetune: {lr: 0.01, steps: 20, lora: {rank: 4, alpha: 8}}
"""


@pytest.fixture(autouse=True)
def _no_arms_stay_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requested, "_requested", ())


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "mine.yml"
    path.write_text(RECIPE, encoding="utf-8")
    return str(path)


def parse(*arguments: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    result = invoke(seen.update, *arguments)
    assert result.exit_code == 0, result.output
    return seen


def invoke(callback: Any, *arguments: str) -> Result:
    command = click.Command("run", params=run_options(), callback=lambda **options: callback(options))
    return CliRunner().invoke(command, arguments)


def test_every_option_of_kedro_stays():
    assert {option.name for option in run_options()} == {option.name for option in kedro_run.params}


def test_a_recipe_may_set_every_option_of_kedro():
    assert set(Recipe.model_fields) == {option.name for option in kedro_run.params} - {"config", "pipeline"}


def test_a_value_that_is_no_yaml_is_told_and_how_to_quote_it():
    result = invoke(lambda **_: None, "--params", "split.held_out_from=*/mine*")
    assert result.exit_code == 2
    assert "*/mine*" in result.output
    assert "quotes" in result.output
    quoted = parse("--params", 'split.held_out_from="*/mine*"')
    assert quoted["params"] == {"split": {"held_out_from": "*/mine*"}}


def test_params_are_merged_deeply_over_the_recipe(recipe: str):
    params = parse("--config", recipe, "--params", "finetune.lora.rank=2,evaluate.limit=5")["params"]
    assert params["finetune"] == {"lr": 0.01, "steps": 20, "lora": {"rank": 2, "alpha": 8}}
    assert params["evaluate"] == {"limit": 5}


@pytest.mark.parametrize(
    ("typed", "steps"),
    [
        ("trajectories.checkpoints=1000,2000,3000", [1000, 2000, 3000]),
        ("trajectories.checkpoints=[1000, 2000]", [1000, 2000]),
        ("trajectories.checkpoints=1000:5000:1000", "1000:5000:1000"),
        ("trajectories.checkpoints=7", 7),
    ],
)
def test_lists_are_typed_with_commas(typed: str, steps: object):
    params = parse("--params", f"finetune.lr=0.1,{typed},study.arms=random,s2l,budget.share=0.2")["params"]
    assert params["trajectories"] == {"checkpoints": steps}
    assert params["study"] == {"arms": ["random", "s2l"]}
    assert params["finetune"] == {"lr": 0.1}
    assert params["budget"]["share"] == 0.2


@pytest.mark.parametrize("typed", ["finetune.lr", "=3", "5,finetune.lr=1"])
def test_a_value_without_a_name_is_refused(typed: str):
    result = invoke(dict, "--params", typed)
    assert result.exit_code == 2
    assert "should be `name=value`" in result.output


def test_params_win_in_whatever_order_they_are_typed(recipe: str):
    before = parse("--params", "finetune.lr=0.5", "--config", recipe)
    assert before["params"]["finetune"]["lr"] == 0.5
    assert before["pipelines"] == ["base", "random"]


def test_the_command_line_wins_over_the_recipe(recipe: str):
    assert parse("--config", recipe, "--pipelines", "all")["pipelines"] == ["all"]


def test_a_pipeline_on_the_command_line_replaces_those_of_the_recipe(recipe: str):
    seen: dict[str, Any] = {}
    result = invoke(lambda options: run(lambda **given: seen.update(given), options), "-c", recipe, "-p", "all")
    assert result.exit_code == 0, result.output
    assert (seen["pipeline"], seen["pipelines"]) == ("all", [])


def test_a_budget_given_in_rows_replaces_the_share(recipe: str):
    params = parse("--config", recipe, "--params", "budget.rows=100")["params"]
    assert params["budget"] == {"rows": 100, "tokens": None, "share": None}


def test_epochs_replace_steps_of_the_layers_below(recipe: str):
    assert parse("--config", recipe, "--params", "finetune.epochs=2")["params"]["finetune"]["steps"] is None
    assert parse("--params", "arms.random.finetune.epochs=2")["params"]["arms"]["random"]["finetune"]["steps"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("finetun.lr=1", "There is no stage `finetun`. Did you mean `finetune`?"),
        ("finetune.lrr=1", "There is no parameter `finetune.lrr`. Did you mean `lr`?"),
        ("finetune.lr=-1", "`finetune.lr` is -1: it should be greater than 0"),
        ("finetune.lora.targets.x=1", "`finetune.lora.targets` is {'x': 1}"),
        ("evaluate.split=train", "`evaluate.split` is 'train': it should be 'validation' or 'held_out'"),
        ("arms.randm.seeds=2", "There is no arm `randm`. Did you mean `random`?"),
        ("arms.random.finetune.lrr=2", "There is no parameter `arms.random.finetune.lrr`"),
        ("budget.rows=1,budget.share=0.5", "exactly one of rows, tokens, share"),
    ],
)
def test_a_parameter_that_cannot_work_is_refused_with_value_and_remedy(given: str, said: str):
    result = invoke(dict, "--params", given)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_arms_asked_for_by_name_are_compared_with_each_other():
    run(dict, {"pipelines": ["base", " random"]})
    assert requested.requested_arms() == ("base", "random")
    run(dict, {"pipelines": ["ingest", "random"]})
    assert requested.requested_arms() == ()


def test_an_interrupt_marks_the_runs_killed_and_says_that_work_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ended = []
    monkeypatch.setattr(tracking, "end_killed", lambda: ended.append("KILLED"))

    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        run(interrupted, {"pipelines": []})
    assert exit_.value.code == 130
    assert ended == ["KILLED"]
    assert "Finished shards are kept" in capsys.readouterr().err


def test_a_users_mistake_is_told_even_where_kedro_wraps_it():
    def load() -> None:
        try:
            raise StaleOutput("No finished result in models/x: run again.")
        except StaleOutput as error:
            raise DatasetError("Failed while loading data from dataset") from error

    with pytest.raises(click.ClickException, match="No finished result in models/x"):
        kindly(load)


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        kindly(lambda: 1 / 0)
