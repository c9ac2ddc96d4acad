"""`kedro export` and `kedro merge-files`: conversations for other trainers."""

from pathlib import Path
from typing import Any

import click

from winnow.commands.run import choosing_options


@click.command()
@click.argument("what", type=click.Choice(["pool"]))
@click.option(
    "--to", required=True, type=click.Choice(["alpaca", "openai", "sharegpt"]), help="The shape of the records."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default: data/08_reporting/export.")
@choosing_options("env", "params", "config")
def export(to: str, out: Path | None, **options: Any) -> None:
    """Write the conversations of your raw files in another shape, one jsonl per subset.

    What is not ingested yet is read first; nothing is trained or tracked.

    \b
    kedro export pool --to sharegpt
    kedro export pool --to alpaca --out converted --params ingest.folder=data/01_raw/mine
    """
    from winnow.commands.kindly import kindly

    kindly(lambda: _export(to, out, options))


def _export(to: str, out: Path | None, options: dict[str, Any]) -> None:
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
