"""`kedro export` and `kedro merge-files`: conversations for other trainers."""

from pathlib import Path

import click


@click.command()
@click.argument("what", type=click.Choice(["pool"]))
@click.option(
    "--to", required=True, type=click.Choice(["alpaca", "openai", "sharegpt"]), help="The shape of the records."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default: data/08_reporting/export.")
@click.option("--env", help="Kedro's configuration environment.")
def export(what: str, to: str, out: Path | None, env: str | None) -> None:
    """Write the conversations of your raw files in another shape, one jsonl per subset.

    Whatever is not ingested yet is read first.

    \b
    kedro export pool --to sharegpt
    kedro export pool --to alpaca --out converted
    """
    from kedro.framework.session import KedroSession

    from winnow.commands.run import kindly
    from winnow.records.export import export_pool
    from winnow.settings import DATA_ROOT

    del what
    target = out or DATA_ROOT / "08_reporting" / "export" / to
    with KedroSession.create(env=env) as session:
        kindly(lambda: session.run(pipeline_names=["ingest"]))
    with KedroSession.create(env=env) as session:
        examples = session.load_context().catalog.load("examples")
    counts = kindly(lambda: export_pool(examples.scan(), to, target))
    for subset, rows in counts.items():
        click.echo(f"{target / subset}.jsonl  {rows} rows")


@click.command("merge-files")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def merge_files(folder: Path, out: Path) -> None:
    """Join all json and jsonl files of FOLDER into the file OUT (.jsonl or .json).

    \b
    kedro merge-files data/01_raw/mine all.jsonl
    """
    from winnow.commands.run import kindly
    from winnow.records.export import merge_files as join

    files, rows = kindly(lambda: join(folder, out))
    click.echo(f"{out}: {rows} records of {files} files")
