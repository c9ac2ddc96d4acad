"""What the pages name is there: files, pipelines, arms, parameters and recipes."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import click
import pytest
from kedro.framework.startup import bootstrap_project

from pipelines.arms import ARMS, target_of
from winnow.cli import cli
from winnow.commands.run import run_options
from winnow.pipeline_registry import register_pipelines

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for pattern in ("*.md", "docs/**/*.md", "src/**/*.md", "notebooks/*.md", "benchmarks/**/*.md")
    for page in sorted(PROJECT.glob(pattern))
]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# In a block a command begins its line, and ends before what is said of it.
TYPED = re.compile(r"^(?:\$ |\.venv/bin/)?kedro +(.*?)(?: {3,}.*| +#.*)?$")
PLACEHOLDER = re.compile(r"[<>{}…]|\.\.\.|\b[A-Z]{4,}\b")
TYPED_WHOLE = ("chat", "compare", "export", "inspect", "merge", "sweep")
RECIPES = {path.stem for path in (PROJECT / "recipes").glob("*.yml")}


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each `kedro` command of a page that could be typed as it stands, and is not shown to fail."""
    text = page.read_text(encoding="utf-8")
    for block in FENCED.findall(text):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        for line, answer in pairwise(lines):
            if answer.startswith("Error: "):
                continue
            for part in line.split(" && "):
                if (found := TYPED.match(part)) and not PLACEHOLDER.search(found[1]):
                    yield shlex.split(found[1])
    for code in INLINE.findall(FENCED.sub("", text)):
        words = " ".join(code.split())
        if words.startswith("kedro ") and not PLACEHOLDER.search(words):
            yield shlex.split(words)[1:]


@cache
def known_pipelines() -> frozenset[str]:
    bootstrap_project(PROJECT)
    return frozenset(register_pipelines()) | frozenset(ARMS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path):
    text = INLINE.sub("", FENCED.sub("", page.read_text(encoding="utf-8")))
    links = [link for link in LINK.findall(text) if "://" not in link and not link.startswith("#")]
    dead = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_name_pipelines_parameters_and_recipes_that_are_there(page: Path):
    for arguments in commands(page):
        if arguments[:1] in (["run"], ["plan"]):
            options = parsed(arguments[1:])
            named = [*(options["pipelines"] or []), *filter(None, [options["pipeline"]])]
            unknown = [name for name in named if name not in known_pipelines() and not target_of(name)]
            assert not unknown, f"{arguments}: no such pipeline or arm"
        for recipe in recipes_of(arguments):
            assert recipe in RECIPES or recipe.endswith(".yml"), f"{arguments}: no such recipe"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_can_be_typed_as_they_stand(page: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(PROJECT)
    for name, *arguments in commands(page):
        # A name alone, in a sentence, is the command itself.
        if name in TYPED_WHOLE and arguments:
            command = cli.commands[name]
            if isinstance(command, click.Group):
                name, *arguments = arguments
                command = command.commands[name]
            if arguments:
                context = command.make_context(name, arguments)
                assert not context.args, f"{name} does not read all of {arguments}"


def recipes_of(arguments: list[str]) -> list[str]:
    """What `fetch NAME` and `recipes copy NAME` name; a file is the reader's own."""
    takes = 1 if arguments[0] == "fetch" else 2 if arguments[:2] == ["recipes", "copy"] else len(arguments)
    return [word for word in arguments[takes : takes + 1] if not word.startswith("-")]


def parsed(arguments: list[str]) -> dict[str, object]:
    """Options as `kedro run` reads them: an unknown option, parameter or recipe is an error."""
    if "--config" in arguments:
        place = arguments.index("--config")
        recipe = Path(arguments[place + 1])
        here = [str(PROJECT / recipe)] if recipe.parent.name == "recipes" else []
        # A file without a folder is the reader's own copy.
        assert here or recipe.parent == Path(), f"{recipe} is in no folder of recipes"
        arguments = [*arguments[:place], *(["--config", *here] if here else []), *arguments[place + 2 :]]
    command = click.Command("run", params=run_options())
    return command.make_context("run", arguments).params


def test_commands_of_pages_are_found():
    found = [arguments for page in PAGES for arguments in commands(page)]
    assert ["run", "--config", "recipes/less.yml"] in found
    assert len([arguments for arguments in found if arguments[0] == "run"]) > 50
