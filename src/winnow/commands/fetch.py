"""`kedro fetch`: the models and the data of a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.commands.recipes import RECIPES

if TYPE_CHECKING:
    from winnow.fetch import Item, Source


@click.command()
@click.argument("recipe")
@click.option("--models-only", is_flag=True, help="No data.")
@click.option("--data-only", is_flag=True, help="No models.")
@click.option("--dry-run", is_flag=True, help="Fetch nothing; print what, where to, and the commands by hand.")
@click.option("--source", type=click.Choice(["hub", "modelscope"]), help="Default: what the recipe says, else the hub.")
def fetch(recipe: str, models_only: bool, data_only: bool, dry_run: bool, source: "Source | None") -> None:
    """Get the models and the data of a recipe from the Hugging Face hub, ModelScope, or plain urls.

    RECIPE is a name of `kedro recipes`, or a file. Models go into the cache of Hugging Face, data where the recipe's
    `fetch` says. What is here is not fetched again, and an interrupted download goes on. Of weights only safetensors
    are taken. HF_ENDPOINT names a mirror, HF_TOKEN opens what is gated. Without a network the commands for another
    machine are printed, and the exit code is 1.

    \b
    kedro fetch mixture_of_thoughts
    kedro fetch less --dry-run
    kedro fetch my_recipe.yml --models-only --source modelscope
    HF_ENDPOINT=https://hf-mirror.com kedro fetch mixture_of_thoughts --data-only
    """
    from winnow.commands.kindly import kindly

    if models_only and data_only:
        raise click.UsageError("--models-only and --data-only exclude each other.")
    items = kindly(lambda: _items(recipe, models_only, data_only, source))
    if not items:
        click.echo("Nothing to fetch: the recipe names no model of a hub and has no `fetch`.")
    elif dry_run:
        for item in items:
            click.echo(f"{_told(item)}\n  {item.command}")
    else:
        kindly(lambda: _fetch(items))


def _items(recipe: str, models_only: bool, data_only: bool, source: "Source | None") -> "list[Item]":
    from winnow.fetch import data_in, models_in
    from winnow.recipes import read_recipe, read_sources
    from winnow.settings import DATA_ROOT

    file = _file(recipe)
    params = read_recipe(file).get("params", {})
    models = [] if data_only else models_in(params, DATA_ROOT / "06_models" / "modelscope", source)
    return models if models_only else models + data_in(read_sources(file), DATA_ROOT, source)


def _file(recipe: str) -> Path:
    from winnow.errors import BadSetting

    named = RECIPES / f"{recipe.removesuffix('.yml')}.yml"
    if Path(recipe).is_file():
        return Path(recipe)
    if named.resolve().parent == RECIPES and named.is_file():
        return named
    raise BadSetting(f"There is no recipe {recipe!r}, neither a file nor a name. `kedro recipes` lists them.")


def _fetch(items: "list[Item]") -> None:
    from winnow.errors import MissingResource

    for number, item in enumerate(items):
        click.echo(_told(item))
        try:
            where = item.fetch()
        except MissingResource as error:
            click.echo("\nOn a machine with a network and access, what is left is fetched by:")
            for left in items[number:]:
                click.echo(f"  {left.command}")
            raise MissingResource(f"{error} The commands above get it elsewhere; then copy it here.") from None
        use = f"  use it as `model.base: {where}`" if item.source == "modelscope" and item.kind == "model" else ""
        click.echo(f"  {where}{use}")


def _told(item: "Item") -> str:
    files = f" ({', '.join(item.files)})" if item.files else ""
    return f"{item.kind} {item.name}{files} -> {item.shown or 'the cache of Hugging Face'}"
