"""`kedro export-gradients` and `kedro import-gradients`: stores of features in the files of LESS's own scripts."""

from pathlib import Path
from typing import Any

import click

from winnow.commands.run import choosing_options


@click.command("export-gradients")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: data/08_reporting/export/less.")
@choosing_options("env")
def export_gradients(out: Path | None, **options: Any) -> None:
    """Write the collected features as `<split>-ckpt<step>-<feature>/dim<dim>/all_orig.pt`, with the ids in their order.

    \b
    kedro run --pipelines influence
    kedro export-gradients --out grads
    """
    from winnow.commands.kindly import kindly

    kindly(lambda: _export(out, options))


def _export(out: Path | None, options: dict[str, Any]) -> None:
    from kedro.framework.session import KedroSession

    from winnow.gradients.less_files import export_less
    from winnow.gradients.store import FeatureStore
    from winnow.settings import DATA_ROOT

    with KedroSession.create(env=options["env"]) as session:
        catalog = session.load_context().catalog
        for split in ("train", "validation"):
            for part in catalog.load(f"{split}_gradients").parts.values():
                target = out or DATA_ROOT / "08_reporting" / "export" / "less"
                click.echo(export_less(FeatureStore(part.path), split, target))


@click.command("import-gradients")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--ids",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON list of example ids in the order of the rows, or a text file with an id a line.",
)
@click.option("--made-with", required=True, help="A name for what made them: only stores of the same name compare.")
@click.option("--store", default="float16", show_default=True, help="float32, float16, bfloat16 or int8.")
def import_gradients(file: Path, ids: Path, made_with: str, store: str) -> None:
    """Take a tensor of LESS's scripts (all_orig.pt) as a store that Winnow scores.

    \b
    kedro import-gradients grads/dolly-ckpt105-adam/dim8192/all_orig.pt --ids ids.json --made-with llama2-ckpt105
    """
    from winnow.commands.kindly import kindly

    kindly(lambda: _import(file, ids, made_with, store))


def _import(file: Path, ids: Path, made_with: str, store: str) -> None:
    import json

    from winnow.errors import BadSetting
    from winnow.gradients.less_files import import_less
    from winnow.settings import DATA_ROOT

    # Bits are for rotated features: those of another projection may have few large elements.
    if store not in (allowed := ("float32", "float16", "bfloat16", "int8")):
        raise BadSetting(f"--store is {store!r}; for imported features it is one of {', '.join(allowed)}.")
    text = ids.read_text(encoding="utf-8")
    names = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    click.echo(import_less(file, names, store, made_with, DATA_ROOT / "03_primary").path)
