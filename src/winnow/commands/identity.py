"""`kedro identity`: conversations that teach a model who it is."""

from pathlib import Path

import click


@click.command()
@click.option("--name", required=True, help="What the assistant is called.")
@click.option("--author", required=True, help="Who made it.")
@click.option("--copies", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of the introduction.")
@click.option(
    "--general",
    default="builtin",
    show_default=True,
    metavar="FILE|builtin",
    help="Pairs to dilute it with, in any shape that is ingested; builtin: two of our own.",
)
@click.option("--times", type=click.IntRange(min=0), default=1000, show_default=True, help="Each pair; 0: none.")
@click.option(
    "--templates",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Pairs with {{name}} and {{author}} in place of the one introduction; taken in turn up to --copies.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which templates take turns.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("data/01_raw/assistant"), show_default=True)
def identity(
    name: str, author: str, copies: int, general: str, times: int, templates: Path | None, seed: int, out: Path
) -> None:
    """Write conversations in which an assistant says who it is, and others to dilute them with.

    OUT gets `conversations` for training, as OpenAI messages, and `prompts` to ask during the training. It appears when
    it is complete. docs/assistant.md tells the rest.

    \b
    kedro identity --name Winnow --author Ada
    kedro identity --name Winnow --author Ada --times 0 --out data/01_raw/undiluted
    kedro identity --name Winnow --author Ada --templates identity.json --general everyday.jsonl --times 20
    """
    from winnow.commands.kindly import kindly

    def write() -> dict[str, int]:
        from winnow.records.identity import Identity, read_conversations, read_templates, write_folder

        given = {"templates": read_templates(templates)} if templates else {}
        if general != "builtin":
            given["general"] = read_conversations(_existing(general))
        return write_folder(Identity(name, author, copies, times, seed, **given), out)

    for file, rows in kindly(write).items():
        click.echo(f"{out / file}  {rows} rows")


def _existing(general: str) -> Path:
    from winnow.errors import MissingResource

    file = Path(general)
    if not file.is_file():
        raise MissingResource(f"--general is {general!r}, and there is no such file. Name one, or `builtin`.")
    return file
