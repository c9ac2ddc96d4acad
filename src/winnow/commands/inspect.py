"""`kedro inspect`: one example, one cluster, one target, from what finished stages left."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from winnow.commands.run import choosing_options

if TYPE_CHECKING:
    from rich.console import Console

    from winnow.inspection import Results
    from winnow.inspection.pieces import Decode

Look = Callable[["Results"], Any]
MIX = "training_mix"


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
    return choosing_options("env", "params", "config")(as_json(command))


@click.group()
def inspect() -> None:
    """Look at single rows, clusters and targets.

    Reads what the last `kedro run` of each stage left: nothing is computed or tracked, and no model is loaded. What a
    stage that has not run would add is named at the end, with the command that makes it.

    \b
    kedro inspect example math/train.parquet:1577
    kedro inspect cluster math/3
    kedro inspect target math --top 10 --bottom 10
    """


@inspect.command()
@click.argument("example_id", metavar="ID")
@_common
def example(example_id: str, as_json: bool, **options: Any) -> None:
    """One row: where it comes from, what of it is learnt, its loss curve, its scores, and which arms keep it.

    ID is `<subset>/<file with extension>:<record>`. Text that is learnt from (the loss mask) is coloured; where there
    is no colour it stands between ⟦ and ⟧. Text is shown literally, control characters as \\x1b.

    \b
    kedro inspect example math/train.parquet:1577
    kedro inspect example math/train.parquet:1577 --json
    """
    from winnow.commands.inspect_example import show_example
    from winnow.inspection import inspect_example

    _inspect(lambda results: inspect_example(results, example_id, _decoding(results)), show_example, as_json, options)


@inspect.command()
@click.argument("name")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Rows at each end.")
@_common
def cluster(name: str, top: int, as_json: bool, **options: Any) -> None:
    """One cluster: its rows, its loss curve, its influence on domains, and how much of it each arm keeps.

    NAME is a cluster within a subset (math/3), over all subsets (3), or a group of the influence matrix. Typical rows
    are those whose loss curve is nearest to the cluster's mean, odd ones the farthest.

    \b
    kedro inspect cluster math/3
    kedro inspect cluster 2 --top 10
    """
    from winnow.commands.inspect_lists import show_cluster
    from winnow.inspection import inspect_cluster

    _inspect(lambda results: inspect_cluster(results, name, top), show_cluster, as_json, options)


@inspect.command()
@click.argument("name")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="Rows with the highest scores.")
@click.option("--bottom", type=click.IntRange(min=0), default=10, show_default=True, help="Rows with the lowest.")
@click.option(
    "--by", type=click.Choice(["less", "rds", "bm25"]), default="less", show_default=True, help="Whose scores."
)
@_common
def target(name: str, top: int, bottom: int, by: Literal["less", "rds", "bm25"], as_json: bool, **options: Any) -> None:
    """One target: the rows with the highest and the lowest scores for it, and how the scores are spread.

    NAME is a target, or one of its subtasks where it has several (target/subtask).

    \b
    kedro inspect target math
    kedro inspect target math --by bm25 --top 20 --bottom 0
    """
    from winnow.commands.inspect_lists import show_target
    from winnow.inspection import inspect_target

    _inspect(lambda results: inspect_target(results, name, by, top, bottom), show_target, as_json, options)


def _inspect(look: Look, show: Callable[["Console", Any], None], as_json: bool, options: dict[str, Any]) -> None:
    from winnow.commands.inspect_text import console
    from winnow.commands.kindly import kindly

    found = kindly(lambda: look(_results(options)))
    if as_json:
        click.echo(json.dumps(_with_null(asdict(found)), allow_nan=False))
    else:
        show(console(), found)


def _results(options: dict[str, Any]) -> "Results":
    from kedro.framework.session import KedroSession

    from winnow.inspection import open_results

    with KedroSession.create(env=options["env"], runtime_params=options["params"]) as session:
        catalog: Any = session.load_context().catalog
        return open_results(catalog.load, _mixes(catalog), catalog.load("params:influence").aggregate)


def _mixes(catalog: Any) -> dict[str, Any]:
    """The training mixes of all arms that were run, also of those that this configuration does not ask for."""
    import polars as pl

    # The catalog says where an arm's mix lies; with a star for the arm, where those of all arms do.
    pattern = Path(catalog.get(f"*.{MIX}")._get_load_path().as_posix())
    arm = pattern.parts.index("*")
    root = Path(*pattern.parts[:arm])
    files = root.glob(str(Path(*pattern.parts[arm:])))
    return {file.parts[arm]: pl.scan_parquet(file) for file in files}


def _decoding(results: "Results") -> Callable[[Sequence[int]], "Decode"]:
    """The tokenizer of the base model that the tokens were made with, opened when tokens are there."""
    from winnow.commands.models import base_of
    from winnow.inspection.pieces import decoder_of

    def decoding(ids: Sequence[int]) -> "Decode":
        tokens = results.need("tokens")
        return decoder_of(base_of(tokens, tokens.path.parents[2]), ids)

    return decoding


def _with_null(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _with_null(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_null(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
