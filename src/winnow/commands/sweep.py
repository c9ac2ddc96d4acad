"""`kedro sweep`: one run per combination of parameters, ranked on the validation rows."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import click
from click.core import ParameterSource

from winnow.commands.kindly import kindly
from winnow.commands.run import INTERRUPTED, merge
from winnow.report.sweep import By, Tried

FORCED = {"evaluate": {"split": "validation"}}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """What is tried, and with which settings besides."""

    arm: str
    by: By
    grid: dict[str, list[Any]]
    combinations: list[dict[str, Any]]
    options: dict[str, Any]
    id: str

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All run-time parameters of one setting; whatever they say, validation rows are asked."""
        from winnow.recipes import take_back_alternatives
        from winnow.sweeps import nested

        return merge(merge(self.options["params"], take_back_alternatives(nested(values))), FORCED)


def sweep(items: tuple[str, ...], options: dict[str, Any]) -> None:
    """Run all settings, and rank those that came to an end."""
    from pipelines.requested import set_requested_arms

    asked = kindly(lambda: _asked(items, options))
    set_requested_arms(())
    click.echo(
        f"Sweep {asked.id}: {len(asked.combinations)} settings of {asked.arm}. They are ranked on the validation rows "
        "(evaluate.split=validation); no held-out row is looked at."
    )
    try:
        kindly(lambda: _run_all(asked))
    except KeyboardInterrupt:
        from winnow.tracking import end_killed

        end_killed()
        click.echo("\nInterrupted. Finished settings are kept: the same command goes on from them.", err=True)
        sys.exit(INTERRUPTED)


def last_nodes(arm: str) -> list[str]:
    """An arm's run ends here: what it was, and what it reached. What is only shown is left out."""
    return [f"{arm}.describe", f"{arm}.summarise"]


def _asked(items: tuple[str, ...], options: dict[str, Any]) -> Sweep:
    """The command line over what the recipe says of a sweep, checked before anything runs."""
    from pipelines.arms import ARMS
    from winnow.errors import BadSetting
    from winnow.recipes import check_params, read_sweep
    from winnow.sweeps import check_effect, check_grid, combinations, parse_grid, read_grid, sweep_id

    section = read_sweep(options["config"]) if options["config"] else {}
    grid = read_grid({**section.pop("grid", {}), **parse_grid(items)})
    options = {**options, **{name: value for name, value in section.items() if not _typed(name)}}
    arm, by, sample = options["pipeline"], options["by"], options["sample"]
    if not grid:
        raise BadSetting("Nothing to sweep. Name parameters and values, as in `kedro sweep finetune.lr=1e-4,3e-4`.")
    if arm not in ARMS or ARMS[arm].size == "none":
        known = ", ".join(name for name in ARMS if ARMS[name].size != "none")
        raise BadSetting(f"--pipeline {arm}: a sweep needs an arm that trains. Known: {known}.")
    check_grid(grid, by, ARMS)
    settings = {name: options[name] for name in ("pipeline", "params", "env", "conf_source", "sample")}
    settings |= {"seed": options["seed"]} if sample else {}
    combined = combinations(grid, sample, options["seed"])
    asked = Sweep(arm, by, grid, combined, options, sweep_id(grid, settings))
    for values in combined:
        check_params(asked.params(values), "sweep", ARMS)
    own = _parameters(asked, combined[0])["arms"].get(ARMS[arm].settings) or {}
    check_effect(grid, ARMS[arm].settings, own.get("finetune") or {})
    return asked


def _typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _run_all(asked: Sweep) -> None:
    from winnow.commands.sweep_report import best_command, conclude
    from winnow.errors import WinnowError
    from winnow.report.sweep import on_common_rows, ranked, telling
    from winnow.sweeps import label

    tried = []
    with _tracked(asked) as run:
        for number, values in enumerate(asked.combinations, 1):
            click.echo(f"\n[{number}/{len(asked.combinations)}] {label(values)}")
            with run.setting(values):
                tried.append(_try(asked, values))
            click.echo(_told(tried[-1]))
        tried, left_out = on_common_rows(tried)
        by = telling(tried, asked.by)
        if by != asked.by:
            click.echo("\nAll settings have the same accuracy: they are ranked by validation loss.")
        asked, order = replace(asked, by=by), ranked(tried, by)
        if order[0].result is None:
            raise WinnowError(f"No setting came to an end. The first: {order[0].reason}")
        folder, metrics = conclude(asked, order, left_out)
        run.log(folder, metrics)
    click.echo(f"\nTable, figures and these sentences: {folder}")
    click.echo(f"The best setting on held-out rows:\n  {best_command(asked, order[0])}")


def _try(asked: Sweep, values: Mapping[str, Any]) -> Tried:
    """Run one setting. Whatever goes wrong with it is noted, and the others go on."""
    try:
        return Tried(dict(values), kindly(lambda: _run(asked, values)))
    except click.ClickException as error:
        return Tried(dict(values), None, error.message)
    except Exception as error:
        _log.exception("This setting failed")
        return Tried(dict(values), None, f"{type(error).__name__}: {error}")


def _run(asked: Sweep, values: Mapping[str, Any]) -> Any:
    from kedro.framework.project import pipelines

    from winnow.report.sweep import read_result

    # Which pipelines there are depends on parameters: they are registered anew.
    pipelines.configure("winnow.pipeline_registry")
    # Kedro-Viz warns each time that it does not record a part of a pipeline.
    logging.getLogger("kedro_viz.integrations.kedro.run_hooks").setLevel(logging.ERROR)
    with _session(asked, values) as session:
        session.run(pipeline_names=[asked.arm], to_nodes=last_nodes(asked.arm))
        catalog = session.load_context().catalog
        return read_result(catalog.load(f"{asked.arm}.evaluation"), catalog.load(f"{asked.arm}.model"))


def _session(asked: Sweep, values: Mapping[str, Any]) -> Any:
    from kedro.framework.session import KedroSession

    settings = {name: asked.options[name] for name in ("env", "conf_source")}
    return KedroSession.create(**settings, runtime_params=asked.params(values))


def _parameters(asked: Sweep, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of one setting, over what `conf` says."""
    from winnow.registration import parameters

    with _session(asked, values) as session:
        session.load_context()
        return dict(parameters())


@contextmanager
def _tracked(asked: Sweep) -> Iterator[Any]:
    from winnow.settings import PROJECT
    from winnow.tracking import SweepRun, is_off, store_of, track_sweep

    if is_off(os.environ):
        yield SweepRun()
        return
    study = str(_parameters(asked, {})["study"]["name"])
    settings = {f"sweep.{name}": value for name, value in {"arm": asked.arm, "by": asked.by, **asked.grid}.items()}
    with track_sweep(store_of(PROJECT, os.environ), PROJECT, study, asked.id, settings) as run:
        yield run


def _told(one: Tried) -> str:
    """One line for what came of a setting."""
    from winnow.report.sweep import told

    if one.result is None:
        lines = one.reason.splitlines()
        return "failed: " + "\n  ".join(dict.fromkeys([lines[0], lines[-1]]))
    loss, accuracy = (told(one.result.estimate(by), by) for by in ("loss", "accuracy"))
    return f"validation loss {loss}, accuracy {accuracy}"
