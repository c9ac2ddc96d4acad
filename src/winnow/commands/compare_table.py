"""What `kedro compare` prints: the arms' results, the parameters that differ, and the verdicts."""

from collections.abc import Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from winnow.commands.inspect_text import literal
from winnow.report.compared import Compared, differing, domains_of
from winnow.report.page import Column, columns_of

WIDTH = 150
MOST_DOMAINS = 6
MOST_PARAMETERS = 6


def show(title: str, rows: Sequence[Compared]) -> None:
    """Print all of it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, WIDTH))
    params, columns, domains = differing(rows), columns_of(rows), domains_of(rows)
    left_out = {*params, *(domains if len(domains) > MOST_DOMAINS else ())}
    measured = [column for column in columns if column.label not in left_out]
    click.echo(f"{literal(title)}: accuracy in %, with 95 % confidence intervals")
    console.print(_table(rows, measured))
    if len(domains) > MOST_DOMAINS:
        click.echo(f"{len(domains)} domains are in comparison.csv")
    if params:
        click.echo("\nParameters that differ")
        chosen = [column for column in columns if column.label in params]
        console.print(_table(rows, chosen) if len(params) <= MOST_PARAMETERS else _values(rows, params))
        click.echo()
    for row in rows:
        if row.verdict:
            click.echo(literal(f"  {row.name}: {row.verdict}"))


def _values(rows: Sequence[Compared], params: Sequence[str]) -> Table:
    """A line per parameter, where there are too many for columns: each value with the arms that have it."""
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    table.add_column("parameter", no_wrap=True)
    table.add_column("values")
    for name in params:
        arms_with: dict[str, list[str]] = {}
        for row in rows:
            if name in row.params:
                arms_with.setdefault(row.params[name], []).append(row.name)
        values = "; ".join(f"{value} ({', '.join(arms)})" for value, arms in arms_with.items())
        table.add_row(_text(name), _text(values))
    return table


def _table(rows: Sequence[Compared], columns: Sequence[Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    table.add_column("arm", no_wrap=True)
    for column in columns:
        table.add_column(_text(column.label), justify="right", overflow="fold")
    for row in rows:
        table.add_row(_text(row.name), *(_text(column.cell(row).text) for column in columns))
    return table


def _text(value: str) -> Text:
    """As it is: brackets are no markup, and an escape from a shared store reaches no terminal."""
    return Text(literal(value))
