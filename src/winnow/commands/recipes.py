"""`kedro recipes [PATTERN]` and `kedro recipes copy NAME [TO]`."""

from pathlib import Path

import click

RECIPES = Path(__file__).resolve().parents[3] / "recipes"


@click.command()
@click.argument("words", nargs=-1, metavar="[PATTERN] | copy NAME [TO]")
@click.option("--force", is_flag=True, help="Overwrite the copy.")
def recipes(words: tuple[str, ...], force: bool) -> None:
    """List the recipes, or copy one for editing.

    \b
    kedro recipes                        all of them
    kedro recipes own                    those with `own` in the name or the description
    kedro recipes copy own_data          to ./own_data.yml
    kedro recipes copy own_data my.yml
    """
    if words[:1] == ("copy",):
        if len(words) not in (2, 3):
            raise click.UsageError("`kedro recipes copy` takes the name of a recipe, and perhaps where to copy it.")
        _copy(words[1], Path(words[2]) if len(words) == 3 else None, force)
    else:
        _list(" ".join(words))


def _list(pattern: str) -> None:
    from winnow.recipes import describe

    found = {path.stem: describe(path) for path in sorted(RECIPES.glob("*.yml"))}
    shown = {name: text for name, text in found.items() if pattern.lower() in f"{name} {text}".lower()}
    if not shown:
        raise click.ClickException(f"No recipe matches {pattern!r}. There are: {', '.join(found)}.")
    width = max(map(len, shown))
    for name, text in shown.items():
        click.echo(f"{name:<{width}}  {text}")


def _copy(name: str, target: Path | None, force: bool) -> None:
    source = RECIPES / f"{name.removesuffix('.yml')}.yml"
    if source.resolve().parent != RECIPES or not source.exists():
        raise click.ClickException(f"There is no recipe {name!r}. `kedro recipes` lists them.")
    here = Path.cwd()
    copy = (here / (target or source.name)).resolve()
    if copy.is_dir():
        copy /= source.name
    if not copy.is_relative_to(here.resolve()):
        raise click.ClickException(f"{target} lies outside of {here}. Copy a recipe into the folder you work in.")
    if copy.exists() and not force:
        raise click.ClickException(f"{copy.name} exists already; use --force to overwrite it.")
    if not copy.parent.is_dir():
        raise click.ClickException(f"There is no folder {copy.parent.relative_to(here.resolve())}. Make it first.")
    copy.write_bytes(source.read_bytes())
    written = copy.relative_to(here.resolve())
    click.echo(f"{written}: edit it, then `kedro run --config {written}`.")
