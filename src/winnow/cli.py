"""The project's commands. Kedro finds the group `cli` here; each command imports what it needs when it is called."""

from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS

from winnow.commands.chat import chat
from winnow.commands.compare import compare
from winnow.commands.export import export, merge_files
from winnow.commands.fetch import fetch
from winnow.commands.gradients import export_gradients, import_gradients
from winnow.commands.identity import identity
from winnow.commands.inspect import inspect
from winnow.commands.merge import merge
from winnow.commands.recipes import recipes
from winnow.commands.run import choosing_options, run_options

RUN_HELP = """Run the study of `study.arms`, or the arms and stages named.

\b
kedro run                                                   the study
kedro run --pipelines random,length                         these arms, compared with each other
kedro run --pipelines random --params finetune.lr=0.0005    another learning rate, for this arm alone
kedro run --config recipes/own_data.yml                     a recipe
kedro run --env gpu                                         on a GPU
"""


@click.group(context_settings=CONTEXT_SETTINGS, name="winnow")
def cli() -> None:
    """Winnow: which instruction data helps a model."""


def _run(**options: Any) -> None:
    from winnow.commands.run import run

    assert kedro_run.callback is not None
    run(kedro_run.callback, options)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def doctor(as_json: bool) -> None:
    """Look at this machine: versions, accelerator, disk, tracking store, and what is missing.

    \b
    kedro doctor
    kedro doctor --json
    """
    from winnow.commands.doctor import doctor as examine

    examine(as_json)


@cli.command()
@choosing_options()
def plan(**options: Any) -> None:
    """Tell which stages would run and which are reused, and why. Nothing is run.

    \b
    kedro plan
    kedro plan --pipelines random --params finetune.lr=0.0005
    kedro plan --config recipes/own_data.yml
    """
    from winnow.commands.plan import plan as make_plan

    make_plan(options)


@cli.command()
@click.argument("grid", nargs=-1, metavar="KEY=A,B ...")
@click.option("--pipeline", "-p", default="random", show_default=True, metavar="ARM", help="The arm that is trained.")
@click.option(
    "--by", type=click.Choice(["accuracy", "loss"]), default="accuracy", show_default=True, help="What ranks."
)
@click.option("--sample", type=click.IntRange(min=1), help="So many combinations of the grid, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of that drawing.")
@choosing_options("params", "config", "env", "conf_source")
def sweep(grid: tuple[str, ...], **options: Any) -> None:
    """Try every combination of parameters' values, and rank them on the validation rows.

    Stages that do not depend on what is swept are shared. Each combination is a run in MLflow; table, figures, and the
    correlation of validation loss with accuracy go to data/08_reporting/sweeps. Held-out rows are never looked at.

    \b
    kedro sweep finetune.lr=1e-4,3e-4,1e-3 finetune.lora.rank=8,64
    kedro sweep finetune.lr=1e-4,1e-3,1e-2 --pipeline less --params arms.less.seeds=3
    kedro sweep finetune.lora.targets=all-linear,[q_proj,v_proj] --by loss
    kedro sweep finetune.lr=1e-4,1e-3 finetune.batch=8,32,128 --sample 4 --seed 1
    kedro sweep --config recipes/lr_transfer.yml
    """
    from winnow.commands.sweep import sweep as run_sweep

    run_sweep(grid, options)


cli.add_command(click.Command("run", params=run_options(), callback=_run, help=RUN_HELP))
cli.add_command(recipes)
cli.add_command(fetch)
cli.add_command(identity)
cli.add_command(inspect)
cli.add_command(compare)
cli.add_command(chat)
cli.add_command(merge)
cli.add_command(merge_files)
cli.add_command(export)
cli.add_command(export_gradients)
cli.add_command(import_gradients)
