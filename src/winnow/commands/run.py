"""`kedro run` with recipes, and with errors that people can read."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource
from kedro.framework.cli.project import run as kedro_run

from winnow.commands.kindly import kindly

INTERRUPTED = 130
FILTERS = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs", "namespaces")
CHOOSING = ("pipeline", "pipelines", "params", "config", "env", "conf_source", *FILTERS)
_RECIPE = "winnow.recipe"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``, dict by dict."""
    both = {
        name: merge(base[name], over[name])
        for name in base.keys() & over.keys()
        if isinstance(base[name], Mapping) and isinstance(over[name], Mapping)
    }
    return {**base, **over, **both}


def read_config(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Read a recipe before the other options: what it says is their default, and its `params` are kept for merging."""
    del parameter
    if value:
        from pipelines.arms import ARMS
        from winnow.recipes import read_recipe

        recipe = kindly(lambda: read_recipe(value, ARMS))
        context.meta[_RECIPE] = recipe.pop("params", {})
        known = {option.name for option in context.command.params}
        context.default_map = {**(context.default_map or {}), **{k: v for k, v in recipe.items() if k in known}}
    return value


def merge_params(context: click.Context, parameter: click.Parameter, value: Any) -> dict[str, Any]:
    """`--params a.b=1,c=2,3` over the recipe's `params`; unknown names are refused."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    from pipelines.arms import ARMS
    from winnow.recipes import check_params, take_back_alternatives

    items = _split(value or "")
    if bad := next((item for item in items if not item.partition("=")[0].strip() or "=" not in item), None):
        raise click.BadParameter(f"{bad!r} should be `name=value`", context, parameter)
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(items))
    except YAMLError as error:
        hint = "Values are YAML: put quotes around what begins with a sign, as in 'a.b=\"*/mine*\"', or use a recipe."
        raise click.BadParameter(f"{value!r} cannot be read. {hint}", context, parameter) from error
    kindly(lambda: check_params(given, "--params", ARMS))
    return merge(take_back_alternatives(context.meta.get(_RECIPE, {})), take_back_alternatives(given))


def _split(text: str) -> list[str]:
    """`a=1,b=2,3` as `a=1` and `b=[2,3]`: what has no name of its own belongs to the value before it."""
    items: list[list[str]] = []
    for piece in filter(None, text.split(",")):
        if "=" in piece or not items:
            items.append([piece])
        else:
            items[-1].append(piece)
    return [_listed(*pieces) for pieces in items]


def _listed(first: str, *more: str) -> str:
    name, sign, value = first.partition("=")
    joined = ",".join([value.strip(), *(piece.strip() for piece in more)])
    return f"{name.strip()}{sign}[{joined}]" if more and not joined.startswith("[") else f"{name.strip()}{sign}{joined}"


def overridden(parameter: click.Parameter) -> click.Parameter:
    """Kedro's own option, but for the two that concern recipes."""
    if parameter.name == "config":
        return click.Option(
            ["--config", "-c"],
            type=click.Path(exists=True, dir_okay=False, resolve_path=True),
            is_eager=True,
            callback=read_config,
            help="A recipe: a YAML file with options of `run`. `--params` is merged over its `params`.",
        )
    if parameter.name == "params":
        text = "Parameters as `name=value`, nested ones with dots; commas between them, and within lists."
        return click.Option(["--params"], default="", callback=merge_params, help=text)
    return parameter


def run_options() -> list[click.Parameter]:
    """The options of `run`."""
    return [overridden(parameter) for parameter in kedro_run.params]


def choosing_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Those options of `run` that say what is run, for commands that take the same."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        options = [option for option in run_options() if option.name in (names or CHOOSING)]
        command.__click_params__ = [*options, *getattr(command, "__click_params__", [])]  # type: ignore[attr-defined]
        return command

    return decorate


def named(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The pipelines asked for."""
    names = options.get("pipelines") or ([options["pipeline"]] if options.get("pipeline") else [])
    return tuple(name.strip() for name in names)


def chosen_pipeline(options: Mapping[str, Any]) -> Any:
    """The nodes that `kedro run` would call with these options."""
    from kedro.framework.project import pipelines
    from kedro.pipeline import Pipeline

    from winnow.errors import BadSetting

    names = named(options) or ("__default__",)
    for name in names:
        if name not in pipelines:
            raise BadSetting(f"No pipeline is called {name!r}. Known: {', '.join(sorted(pipelines))}.")
    chosen = {"node_namespaces" if name == "namespaces" else name: options[name] for name in FILTERS}
    return sum((pipelines[name] for name in names), Pipeline([])).filter(**chosen)


def prefer_command_line(options: dict[str, Any]) -> None:
    """Let `--pipeline` win over the `pipelines` of a recipe; Kedro would refuse the two together."""
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source("pipelines") if context else None
    if options.get("pipeline") and source is ParameterSource.DEFAULT_MAP:
        options["pipelines"] = []


def request_arms(names: tuple[str, ...]) -> None:
    """Arms that are asked for by name are compared with each other."""
    from pipelines.arms import ARMS
    from pipelines.requested import set_requested_arms

    set_requested_arms(names if all(name in ARMS for name in names) else ())


def run(kedro: Callable[..., Any], options: dict[str, Any]) -> None:
    """Run, and end with one clear message where the user can mend it."""
    warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")
    prefer_command_line(options)
    request_arms(named(options))
    try:
        kindly(lambda: kedro(**options))
    except KeyboardInterrupt:
        from winnow.tracking import end_killed

        end_killed()
        click.echo("\nInterrupted. Finished shards are kept: the same command goes on from them.", err=True)
        sys.exit(INTERRUPTED)
