"""Recipes: YAML files with the options of `kedro run` under the key `run`, checked before anything runs."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from winnow import params as models
from winnow.errors import BadSetting

STAGES: dict[str, type[models.Params]] = {
    "budget": models.BudgetParams,
    "evaluate": models.EvaluateParams,
    "fabricate": models.FabricateParams,
    "finetune": models.FinetuneParams,
    "ingest": models.IngestParams,
    "machine": models.Machine,
    "model": models.ModelParams,
    "split": models.SplitParams,
    "study": models.StudyParams,
    "tokenize": models.TokenizeParams,
}


class Recipe(BaseModel):
    """What may stand under `run`."""

    model_config = ConfigDict(extra="forbid")

    pipelines: str = ""
    env: str | None = None
    tags: str = ""
    params: dict[str, Any] = {}


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read and check a recipe; only what it says is returned."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is not a YAML file: {error}") from None
    if not isinstance(content, dict) or set(content) != {"run"} or not isinstance(content["run"], dict):
        raise BadSetting(f"{path}: a recipe has one top key, `run`, with the options of `kedro run` under it.")
    try:
        recipe = Recipe.model_validate(content["run"])
    except ValidationError as error:
        raise BadSetting(f"{path}: {_explain(error)}") from None
    for stage, values in recipe.params.items():
        _check_stage(path, stage, values)
    return recipe.model_dump(exclude_unset=True)


def _check_stage(path: str | Path, stage: str, values: Any) -> None:
    """Names and values of one stage's parameters; what the recipe leaves out comes from `conf`."""
    if stage == "arms":
        for name, arm in values.items():
            _check(path, f"arms.{name}", models.ArmParams, arm)
        return
    if stage not in STAGES:
        near = difflib.get_close_matches(stage, STAGES, 1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise BadSetting(f"{path}: there is no stage `{stage}`.{hint} Known: {', '.join(sorted(STAGES))}, arms.")
    _check(path, stage, STAGES[stage], values)


def _check(path: str | Path, stage: str, model: type[models.Params], values: Any) -> None:
    given = {"data_root": ".", **(values or {})} if model is models.Machine else values or {}
    try:
        model.model_validate(given)
    except ValidationError as error:
        raise BadSetting(f"{path}: `{stage}`: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())


def describe(path: Path) -> str:
    """The first comment of a recipe."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")
