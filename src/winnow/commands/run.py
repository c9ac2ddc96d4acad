"""`kedro run` with recipes, and with errors that people can read."""

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import env_option

INTERRUPTED = 130
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
        from winnow.recipes import read_recipe

        recipe = kindly(lambda: read_recipe(value))
        context.meta[_RECIPE] = recipe.pop("params", {})
        known = {option.name for option in context.command.params}
        context.default_map = {**(context.default_map or {}), **{k: v for k, v in recipe.items() if k in known}}
    return value


def merge_params(context: click.Context, parameter: click.Parameter, value: Any) -> dict[str, Any]:
    """`--params a.b=1,c=2` over the recipe's `params`."""
    from kedro.framework.cli.utils import _split_params

    given = _split_params(context, parameter, value or "")
    return merge(context.meta.get(_RECIPE, {}), given)


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
        text = "Parameters as `name=value`, nested ones with dots, several with commas."
        return click.Option(["--params"], default="", callback=merge_params, help=text)
    return parameter


def run_options() -> list[click.Parameter]:
    """The options of `run`."""
    return [overridden(parameter) for parameter in kedro_run.params]


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `run` that `plan` understands."""
    wanted = {"pipeline", "pipelines", "params", "config"}
    options = [option for option in run_options() if option.name in wanted]
    decorated = env_option(command)
    decorated.__click_params__ = [*getattr(decorated, "__click_params__", []), *options]
    return decorated


def named(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The pipelines asked for."""
    names = options.get("pipelines") or ([options["pipeline"]] if options.get("pipeline") else [])
    return tuple(name.strip() for name in names)


def request_arms(names: tuple[str, ...]) -> None:
    """Arms that are asked for by name are compared with each other."""
    from pipelines.arms import ARMS
    from pipelines.requested import set_requested_arms

    set_requested_arms(names if all(name in ARMS for name in names) else ())


def run(kedro: Callable[..., Any], options: dict[str, Any]) -> None:
    """Run, and end with one clear message where the user can mend it."""
    warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")
    request_arms(named(options))
    try:
        kindly(lambda: kedro(**options))
    except KeyboardInterrupt:
        from winnow.tracking import end_killed

        end_killed()
        click.echo("\nInterrupted. Finished shards are kept: the same command goes on from them.", err=True)
        sys.exit(INTERRUPTED)


def kindly(action: Callable[[], Any]) -> Any:
    """Do ``action``; a user's mistake becomes a message without a traceback."""
    from kedro.validation.exceptions import ParameterValidationError
    from pydantic import ValidationError

    from winnow.errors import WinnowError

    try:
        return action()
    except (WinnowError, ParameterValidationError) as error:
        message = str(error)
    except ValidationError as error:
        message = f"A parameter does not fit its model. {error}"
    except ValueError as error:
        # Kedro says so where a pipeline's name is unknown.
        if "Failed to find the pipeline" not in str(error):
            raise
        message = f"{error} `kedro registry list` shows the names."
    logging.getLogger("winnow").debug("the error in full", exc_info=True)
    raise click.ClickException(message)
