"""Recipes: those of the project work, bad ones are refused clearly, and copies stay in the folder."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from pipelines.arms import ARMS
from winnow.commands.recipes import RECIPES, recipes
from winnow.errors import BadSetting
from winnow.pipeline_registry import register_pipelines
from winnow.recipes import STAGES, describe, read_recipe

CONF = RECIPES.parent / "conf"
ALL = sorted(RECIPES.glob("*.yml"))


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(recipes, arguments)
    return result.exit_code, result.output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_names_known_pipelines_and_environments(path: Path):
    bootstrap_project(RECIPES.parent)
    recipe = read_recipe(path, ARMS)
    assert describe(path)
    named = [name for name in recipe.get("pipelines", "").split(",") if name]
    # Arms for one target are registered once the recipe declares them.
    declared = {name for name in recipe["params"].get("arms", {}) if name in ARMS}
    assert set(named) <= set(register_pipelines()) | declared
    assert (CONF / recipe.get("env", "base")).is_dir()


def test_the_demo_recipe_is_what_conf_says_but_for_what_makes_it_shorter():
    params = read_recipe(RECIPES / "demo.yml")["params"]
    conf = {}
    for file in (CONF / "base" / "parameters").glob("*.yml"):
        conf |= yaml.safe_load(file.read_text(encoding="utf-8"))
    # In so few steps `all` was not told from `random`.
    assert [arm for arm in conf["study"]["arms"] if arm != "all"] == params["study"]["arms"]
    assert params["study"]["name"] == conf["study"]["name"]
    assert params["budget"] == conf["budget"]
    assert set(params["arms"]) | {"base"} == set(params["study"]["arms"])
    assert all(given["seeds"] < conf["arms"][arm]["seeds"] for arm, given in params["arms"].items())
    # No base model of its own: what comes after the demo goes on from the demo's.
    assert set(params["fabricate"]) == {"selector"}
    shortened = [
        (params["finetune"], conf["finetune"]),
        (params["fabricate"]["selector"], conf["fabricate"]["selector"]),
    ]
    shortened += [(params["warmup"][name], conf["warmup"][name]) for name in params["warmup"]]
    for short, usual in shortened:
        longer = {name for name in short if name not in ("packing", "lr") and short[name] >= usual[name]}
        assert not longer, longer
    assert params["finetune"]["lr"] == conf["finetune"]["lr"]


def test_the_study_recipe_has_every_arm_with_ten_seeds():
    params = read_recipe(RECIPES / "study.yml")["params"]
    known = yaml.safe_load((CONF / "base" / "parameters" / "study.yml").read_text(encoding="utf-8"))["arms"]
    assert set(params["study"]["arms"]) == set(known)
    assert params["arms"] == {arm: {"seeds": 10} for arm in known if arm != "base"}


def test_each_stage_of_the_configuration_has_a_model_to_check_it():
    files = [file for folder in CONF.iterdir() for file in folder.glob("parameters/*.yml")]
    stages = {stage for file in files for stage in yaml.safe_load(file.read_text(encoding="utf-8"))}
    assert stages == {*STAGES, "arms", "warmup"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params: {}", "the top key `run`"),
        ("{run: {}, fech: []}", "may have `fetch`"),
        ("{run: {}, fetch: [{repo: a/b}]}", "`fetch.0.to`: Field required"),
        ("{run: {}, fetch: [{repo: a/b, to: ../b}]}", "should be a folder in data/01_raw"),
        ("{run: {}, fetch: [{repo: a/b, to: /b}]}", "should be a folder in data/01_raw"),
        ("{run: {}, fetch: [{to: data}]}", "either repo or url"),
        ("{run: {}, fetch: [{repo: a/b, to: data, file: x}]}", "`fetch.0.file`"),
        ("{run: {}, fetch: {repo: a/b}}", "valid list"),
        ("run: [", "not a YAML file"),
        ("run: {pipeline: random}", "Did you mean `pipelines`"),
        ("run: {params: {finetun: {lr: 1}}}", "Did you mean `finetune`"),
        ("run: {params: {arms: [random]}}", "`arms` is ['random']"),
        ("run: {params: {arms: {randm: {}}}}", "There is no arm `randm`"),
        ("run: {params: {split: {validation_share: 0.9, held_out_share: 0.9}}}", "over 1"),
        ("run: {params: {ingest: 3}}", "`ingest` is 3"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_name_and_the_remedy(tmp_path: Path, text: str, said: str):
    path = tmp_path / "mine.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadSetting, match=r"mine\.yml") as raised:
        read_recipe(path, ARMS)
    assert said in str(raised.value)


def test_recipes_are_listed_with_their_first_comment():
    code, output = call()
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == [path.stem for path in ALL]
    assert "Your own conversations" in output


def test_a_pattern_narrows_the_list_and_an_unknown_one_says_what_there_is():
    assert call("OWN")[1].startswith("own_data")
    code, output = call("quantum")
    assert code == 1
    assert "demo" in output


def test_a_copy_lands_in_the_folder_and_is_never_overwritten_unasked(here: Path):
    assert call("copy", "own_data")[0] == 0
    copy = here / "own_data.yml"
    assert copy.read_bytes() == (RECIPES / "own_data.yml").read_bytes()
    copy.write_text("mine")
    code, output = call("copy", "own_data")
    assert (code, copy.read_text()) == (1, "mine")
    assert "--force" in output
    assert call("copy", "own_data", "--force")[0] == 0
    assert copy.read_text() != "mine"


@pytest.mark.parametrize("target", ["../escaped.yml", "{above}/escaped.yml", "link/escaped.yml"])
def test_a_copy_cannot_leave_the_folder(here: Path, target: str):
    (here / "link").symlink_to(here.parent)
    code, output = call("copy", "demo", target.format(above=here.parent))
    assert code == 1
    assert "outside" in output
    assert not list(here.parent.rglob("escaped.yml"))


@pytest.mark.parametrize("name", ["../pyproject", "../conf/base/parameters/finetune", "nothing"])
def test_only_recipes_can_be_copied(here: Path, name: str):
    code, output = call("copy", name)
    assert code == 1
    assert "no recipe" in output
    assert not list(here.iterdir())


def test_a_copy_into_a_folder_keeps_its_name_and_a_missing_folder_is_named(here: Path):
    (here / "kept").mkdir()
    assert call("copy", "demo", "kept")[0] == 0
    assert (here / "kept" / "demo.yml").exists()
    code, output = call("copy", "demo", "gone/demo.yml")
    assert code == 1
    assert "no folder gone" in output
