"""Recipes: YAML files with the options of `kedro run` under the key `run`, checked before anything runs.

Under `fetch` a recipe may say where its data comes from, for `kedro fetch`; under `sweep`, what `kedro sweep` tries.

The same check serves `--params`: Kedro itself takes a misspelt stage for a parameter that nobody reads.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winnow import params as models
from winnow.errors import BadSetting
from winnow.fetch import DataSource

STAGES: dict[str, type[models.Params]] = {
    "assistant": models.AssistantParams,
    "baselines": models.BaselinesParams,
    "budget": models.BudgetParams,
    "clusters": models.ClustersParams,
    "compare_parallelism": models.CompareParallelismParams,
    "evaluate": models.EvaluateParams,
    "fabricate": models.FabricateParams,
    "finetune": models.FinetuneParams,
    "gradients": models.GradientsParams,
    "influence": models.InfluenceParams,
    "ingest": models.IngestParams,
    "machine": models.Machine,
    "model": models.ModelParams,
    "pareto": models.ParetoParams,
    "select_moe": models.SelectMoeParams,
    "selection": models.SelectionParams,
    "split": models.SplitParams,
    "study": models.StudyParams,
    "targets": models.TargetsParams,
    "tokenize": models.TokenizeParams,
    "trajectories": models.TrajectoriesParams,
    "verify": models.VerifyParams,
}

WARMUPS = ("proxy", "less")

# To give one of them is to take the others back: a study at 100 rows is not one at 10 % too.
_ALTERNATIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "budget": {"rows": ("tokens", "share"), "tokens": ("rows", "share"), "share": ("rows", "tokens")},
    "finetune": {"epochs": ("steps",)},
}


class Recipe(BaseModel):
    """What may stand under `run`: the options of `kedro run`."""

    model_config = ConfigDict(extra="forbid")

    pipelines: str = ""
    env: str | None = None
    tags: str = ""
    params: dict[str, Any] = {}
    node_names: str = ""
    from_nodes: str = ""
    to_nodes: str = ""
    from_inputs: str = ""
    to_outputs: str = ""
    namespaces: str = ""
    load_versions: str = ""
    conf_source: str | None = None
    only_missing_outputs: bool = False
    runner: str | None = None
    runner_params: dict[str, Any] = {}
    is_async: bool = False


class _Sources(BaseModel):
    fetch: list[DataSource]


class Sweep(BaseModel):
    """What may stand under `sweep`: the grid, and the options of `kedro sweep`."""

    model_config = ConfigDict(extra="forbid")

    grid: dict[str, list[Any]] = Field(min_length=1)
    pipeline: str = "random"
    by: Literal["accuracy", "loss"] = "accuracy"
    sample: int | None = Field(default=None, ge=1)
    seed: int = 0


def read_recipe(path: str | Path, arms: Collection[str] = ()) -> dict[str, Any]:
    """Read and check a recipe; only what it says is returned. Arms are checked where the known ``arms`` are given."""
    content = _content(path)
    read_sources(path)
    recipe = _checked(path, "run", Recipe, content["run"])
    check_params(recipe.get("params", {}), str(path), arms)
    return recipe


def read_sweep(path: str | Path) -> dict[str, Any]:
    """What a recipe says of a sweep; empty where it says nothing."""
    content = _content(path)
    return _checked(path, "sweep", Sweep, content["sweep"]) if "sweep" in content else {}


def _checked(path: str | Path, section: str, model: type[BaseModel], content: Any) -> dict[str, Any]:
    try:
        return model.model_validate(content).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise BadSetting(f"{path}: {'; '.join(explain(section, content, model, error))}") from None


def read_sources(path: str | Path) -> list[DataSource]:
    """Where a recipe's data comes from."""
    sources = {"fetch": _content(path).get("fetch") or []}
    try:
        return _Sources.model_validate(sources).fetch
    except ValidationError as error:
        raise BadSetting(f"{path}: {'; '.join(_explain_source(item) for item in error.errors())}") from None


def _explain_source(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    return f"`{place}`: {item['msg'].removeprefix('Value error, ')}."


def _content(path: str | Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is not a YAML file: {error}") from None
    known = isinstance(content, dict) and {"run"} <= set(content) <= {"run", "fetch", "sweep"}
    if not known or not isinstance(content["run"], dict):
        raise BadSetting(
            f"{path}: a recipe has the top key `run`, with the options of `kedro run` under it, and may have `fetch`, "
            "a list of what `kedro fetch` gets, and `sweep`, what `kedro sweep` tries."
        )
    return content


def check_params(params: Mapping[str, Any], source: str, arms: Collection[str] = ()) -> None:
    """Refuse unknown stages, arms and names, and values out of range; what is left out comes from `conf`."""
    if found := complaints(params, arms):
        raise BadSetting(f"{source}: " + "\n".join(found))


def complaints(params: Mapping[str, Any], arms: Collection[str] = ()) -> list[str]:
    """One sentence for each parameter that cannot work."""
    found: list[str] = []
    for stage, values in params.items():
        if stage == "arms" and not isinstance(values, Mapping):
            found.append(f"`arms` is {values!r}: it should be a dictionary of arms.")
        elif stage == "arms":
            for name, arm in values.items():
                found += _check_arm(name, arm, arms)
        elif stage == "warmup":
            found += _check_warmups(values)
        elif stage in STAGES:
            found += _check(stage, STAGES[stage], values)
        else:
            found.append(f"There is no stage `{stage}`.{_known(stage, [*STAGES, 'arms', 'warmup'])}")
    return found


def take_back_alternatives(params: Mapping[str, Any]) -> dict[str, Any]:
    """Set to null what a parameter given here replaces, so that it wins over the layers below."""
    settled = dict(params)
    for stage, alternatives in _ALTERNATIVES.items():
        if isinstance(values := settled.get(stage), Mapping):
            replaced = {other: None for name in values for other in alternatives.get(name, ())}
            settled[stage] = {**replaced, **values}
    if isinstance(arms := settled.get("arms"), Mapping):
        settled["arms"] = {
            name: take_back_alternatives(arm) if isinstance(arm, Mapping) else arm for name, arm in arms.items()
        }
    return settled


def explain(stage: str, values: Any, model: type[BaseModel], error: ValidationError) -> list[str]:
    """A validation error as sentences: parameter, value, and what is allowed."""
    sentences = []
    # A union reports each of its alternatives; the first is the plainest.
    firsts = {tuple(_within(values, item["loc"])): item for item in reversed(error.errors())}
    for location, item in reversed(firsts.items()):
        name = ".".join((stage, *location))
        if item["type"] == "extra_forbidden":
            known = _fields(model, item["loc"][:-1])
            sentences.append(f"There is no parameter `{name}`.{_known(str(item['loc'][-1]), known)}")
        elif item["type"] == "value_error":
            sentences.append(f"`{stage}`: {item['ctx']['error']}.")
        else:
            allowed = item["msg"].replace("Input should", "it should", 1)
            sentences.append(f"`{name}` is {item['input']!r}: {allowed}.")
    return sentences


def describe(path: Path) -> str:
    """The first comment of a recipe."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")


def _check_arm(name: str, arm: Any, arms: Collection[str]) -> list[str]:
    if arms and name not in arms:
        return [f"There is no arm `{name}`.{_known(name, arms)}"]
    found = _check(f"arms.{name}", models.ArmParams, arm)
    own = arm.get("finetune") if isinstance(arm, Mapping) else None
    return found + (_check(f"arms.{name}.finetune", models.FinetuneParams, own) if isinstance(own, Mapping) else [])


def _check_warmups(warmups: Any) -> list[str]:
    if not isinstance(warmups, Mapping):
        return [f"`warmup` is {warmups!r}: it should be a dictionary with {' and '.join(WARMUPS)}."]
    found = []
    for name, values in warmups.items():
        if name in WARMUPS:
            found += _check(f"warmup.{name}", models.WarmupParams, values)
        else:
            found.append(f"There is no warm-up `{name}`.{_known(name, WARMUPS)}")
    return found


def _check(stage: str, model: type[models.Params], values: Any) -> list[str]:
    # The data root is the project's to give.
    given = {"data_root": ".", **values} if model is models.Machine and isinstance(values, Mapping) else values
    try:
        model.model_validate({} if given is None else given)
    except ValidationError as error:
        return explain(stage, given, model, error)
    return []


def _within(values: Any, location: Iterable[int | str]) -> list[str]:
    """The part of a location that names parameters; pydantic adds the alternatives of a union."""
    names = []
    for name in location:
        if not isinstance(values, Mapping) or name not in values:
            break
        names.append(str(name))
        values = values[name]
    return names


def _fields(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    for name in location:
        field = model.model_fields.get(str(name))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)


def _known(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return f"{hint} Known: {', '.join(sorted(known))}." if known else hint
