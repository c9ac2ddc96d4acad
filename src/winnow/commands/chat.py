"""`kedro chat`: talk to an arm's model, a folder's, or one of the hub."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from winnow.commands.run import choosing_options

if TYPE_CHECKING:
    from winnow.chat import Chat
    from winnow.commands.models import Named

HELLO = "/clear forgets what was said, /exit or Ctrl-D ends."


@click.command()
@click.argument("model")
@click.option("--base", metavar="NAME_OR_FOLDER", help="The model an adapter was trained on; default: as it records.")
@click.option("--system", metavar="TEXT", help="A system message.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0: no sampling.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampling.")
@choosing_options("env")
def chat(model: str, base: str | None, env: str | None, **options: Any) -> None:
    """Talk to a model; its answers appear as they are made, and the conversation is remembered.

    MODEL is an arm that was run (its model of seed 0), a folder (a whole model, a merged one, an adapter), or a hub id.
    The chat template is the one that it was trained with. In a pipe each line is a message, and the answers alone are
    printed.

    \b
    kedro chat less
    kedro chat data/06_models/merged/less-seed0 --system "Be brief."
    kedro chat Qwen/Qwen2.5-0.5B-Instruct --temperature 0.7 --seed 1
    echo "What is 2+2?" | kedro chat less
    """
    from winnow.commands.kindly import kindly

    try:
        kindly(lambda: _converse(_open(model, base, env, options)))
    except KeyboardInterrupt:
        click.echo(err=True)


def _open(model: str, base: str | None, env: str | None, options: dict[str, Any]) -> "Chat":
    from winnow.commands.models import find_model

    found = find_model(model, base, env=env)

    from winnow.chat import Chat
    from winnow.records.tokenizer import load_tokenizer

    return Chat(_loaded(found), load_tokenizer(found.base), found.template, **options)


def _loaded(found: "Named") -> Any:
    import torch
    from transformers.utils import logging

    from winnow.stages import Finished
    from winnow.training.merge import adapted_model
    from winnow.training.model import load_model

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if found.folder is None:
        return load_model(found.base, "auto", device)
    if found.is_adapter:
        return adapted_model(load_model(found.base, "auto", device), found.folder)
    code = {"trust_remote_code": found.base.summary.get("trust_remote_code")}
    return load_model(Finished("pretrained", "", found.folder, summary=code), "auto", device)


def _converse(talk: "Chat") -> None:
    from winnow.errors import BadSetting

    is_terminal = sys.stdin.isatty()
    if is_terminal:
        click.echo(HELLO)
    for line in _typed() if is_terminal else sys.stdin:
        text = line.strip()
        if text == "/exit":
            return
        if text == "/clear":
            talk.clear()
        elif text:
            try:
                talk.say(text, lambda piece: click.echo(piece, nl=False))
                click.echo()
            except BadSetting as error:
                if not is_terminal:
                    raise
                click.echo(f"{error}", err=True)


def _typed() -> Iterator[str]:
    """Lines with a prompt, until Ctrl-D."""
    import readline  # noqa: F401 - input() then edits lines, and remembers them

    while True:
        try:
            yield input("> ")
        except EOFError:
            click.echo()
            return
