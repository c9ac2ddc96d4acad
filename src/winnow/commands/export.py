"""`kedro export` and `kedro merge-files`: mixes and conversations for other trainers."""

from pathlib import Path
from typing import Any

import click

from winnow.commands.run import choosing_options


@click.command()
@click.argument("what")
@click.option(
    "--to",
    required=True,
    type=click.Choice(["llamafactory", "ms-swift", "xtuner", "openai", "alpaca", "sharegpt"]),
    help="The trainer, or the shape of the records.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the files; default: in data/08_reporting/export."
)
@click.option("--seed", type=int, help="Which of the arm's mixes; default: its first seed.")
@choosing_options("env", "params", "config")
def export(what: str, to: str, out: Path | None, seed: int | None, **options: Any) -> None:
    """Write what an arm trains on, or the whole pool, for another trainer.

    WHAT is an arm that was run (`kedro run --pipeline ARM`): its rows as often as it takes them, a file for each
    cluster, the trainer's settings, and a manifest. Or it is `pool`: the conversations of your raw files, one jsonl per
    subset; what is not ingested yet is read first. Nothing is trained or tracked.

    \b
    kedro export pareto_balanced --to llamafactory
    kedro export less --to ms-swift --out for_swift --seed 1
    kedro export pool --to sharegpt
    kedro export pool --to alpaca --out converted --params ingest.folder=data/01_raw/mine
    """
    from winnow.commands.kindly import kindly

    kindly(lambda: _export(what, to, out, seed, options))


def _export(what: str, to: str, out: Path | None, seed: int | None, options: dict[str, Any]) -> None:
    from winnow.errors import BadSetting
    from winnow.records.export import FORMATS

    if what != "pool":
        _export_arm(what, to, out, seed, options)
    elif to not in FORMATS:
        raise BadSetting(
            f"`pool` has no mix that {to} could be set up for. Name an arm, as in `kedro export random --to {to}`, "
            f"or export the pool to {', '.join(sorted(FORMATS))}."
        )
    elif seed is not None:
        raise BadSetting(f"--seed is {seed}, but `pool` is the same for every seed. Leave it out.")
    else:
        _export_pool(to, out, options)


def _export_arm(arm: str, to: str, out: Path | None, seed: int | None, options: dict[str, Any]) -> None:
    from kedro.framework.session import KedroSession

    from winnow.errors import MissingResource
    from winnow.records.trainers import TRAINERS, export_mix, read_mix
    from winnow.settings import DATA_ROOT

    _check_arm(arm)
    target = out or DATA_ROOT / "08_reporting" / "export" / f"{arm}-{to}"
    with KedroSession.create(env=options["env"], runtime_params=options["params"]) as session:
        catalog = session.load_context().catalog
        if not catalog.exists(f"{arm}.training_mix"):
            raise MissingResource(f"The arm {arm!r} has no mix yet. Make it with `kedro run --pipeline {arm}` first.")
        train = catalog.load("train").scan()
        mix = read_mix(arm, catalog.load(f"{arm}.training_mix"), seed, train, _groups(catalog))
        manifest = export_mix(mix, train, to, TRAINERS[to], target)
    _tell(manifest, target)


def _check_arm(arm: str) -> None:
    from pipelines.arms import ARMS, ONE_TARGET
    from winnow.errors import BadSetting

    if arm not in ARMS:
        raise BadSetting(
            f"No arm is called {arm!r}. Known: {', '.join(sorted(ARMS))}, "
            f"{' and '.join(f'{start}<target>' for start in ONE_TARGET)}; and `pool` for all raw data."
        )
    if ARMS[arm].size == "none":
        raise BadSetting(f"The arm {arm!r} trains on nothing, so there is nothing to export. Name another arm.")


def _groups(catalog: Any) -> Any:
    """The cluster of each example, by the best grouping that was made: of the matrix, else of the loss trajectories."""
    import polars as pl

    if catalog.exists("influence_matrix"):
        return catalog.load("influence_matrix").scan("groups").collect()
    if catalog.exists("clusters"):
        name = pl.concat_str("subset", "subset_cluster", separator="/")
        return catalog.load("clusters").scan("clusters").select("example_id", cluster=name).collect()
    return None


def _tell(manifest: dict[str, Any], target: Path) -> None:
    for cluster in manifest["clusters"]:
        if cluster["file"] is not None:
            click.echo(
                f"{target / cluster['file']}  {cluster['distinct']} of {cluster['pool']} rows, "
                f"{cluster['rows']} in the mix"
            )
    click.echo(f"{target / 'train.jsonl'}  {manifest['rows']} rows: the mix of seed {manifest['seed']}")
    for reason, count in manifest["set_aside"].items():
        click.echo(f"{count['rows']} rows ({count['distinct']} conversations) were set aside: {reason}")
    if manifest["set_aside"]:
        click.echo(f"{manifest['to']} cannot train on those; they are in {target / 'set_aside.jsonl'}")


def _export_pool(to: str, out: Path | None, options: dict[str, Any]) -> None:
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.runner import SequentialRunner

    from winnow.records.export import export_pool
    from winnow.settings import DATA_ROOT

    target = out or DATA_ROOT / "08_reporting" / "export" / to
    with KedroSession.create(env=options["env"], runtime_params=options["params"]) as session:
        catalog = session.load_context().catalog
        # Without the session's hooks: a conversion is no run to be tracked.
        SequentialRunner().run(pipelines["ingest"], catalog)
        counts = export_pool(catalog.load("examples").scan(), to, target)
        rejects = catalog.load("rejects")
    for subset, rows in counts.items():
        click.echo(f"{target / subset}.jsonl  {rows} rows")
    set_aside = rejects.summary["tables"]["rejects"]["rows"]
    if set_aside:
        click.echo(f"{set_aside} records were set aside, with reasons in {rejects.path / 'rejects'}")


@click.command("merge-files")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def merge_files(folder: Path, out: Path) -> None:
    """Join all json and jsonl files of FOLDER into the file OUT (.jsonl or .json).

    \b
    kedro merge-files data/01_raw/mine all.jsonl
    """
    from winnow.commands.kindly import kindly
    from winnow.records.export import merge_files as join

    files, rows = kindly(lambda: join(folder, out))
    click.echo(f"{out}: {rows} records of {files} files")
