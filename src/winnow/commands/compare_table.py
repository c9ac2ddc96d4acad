"""What `kedro compare` prints: the arms' results, the parameters that differ, and the verdicts."""

from collections.abc import Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from winnow.report.compared import Compared, differing, domains_of
from winnow.report.page import Column, columns_of

WIDTH = 150
MOST_DOMAINS = 6
MOST_PARAMETERS = 6
PARAMETERS = "Parameters that differ"


def show(title: str, rows: Sequence[Compared]) -> None:
    """Print all of it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, WIDTH))
    params = differing(rows)
    columns = columns_of(rows)
    domains = domains_of(rows)
    left_out = {*params, *(domains if len(domains) > MOST_DOMAINS else ())}
    measured = [column for column in columns if column.label not in left_out]
    rest = f"{len(domains)} domains are in comparison.csv" if len(domains) > MOST_DOMAINS else None
    console.print(_table(f"{title}: accuracy in %, with 95 % confidence intervals", rows, measured, rest))
    if len(params) > MOST_PARAMETERS:
        console.print(_values(rows, params))
    elif params:
        chosen = [column for column in columns if column.label in params]
        console.print(_table(PARAMETERS, rows, chosen, None))
    for row in rows:
        if row.verdict:
            click.echo(f"  {row.name}: {row.verdict}")


def _values(rows: Sequence[Compared], params: Sequence[str]) -> Table:
    """A line per parameter, where there are too many for columns: each value with the arms that have it."""
    table = Table(title=PARAMETERS, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    table.add_column("parameter", no_wrap=True)
    table.add_column("values")
    for name in params:
        arms_with: dict[str, list[str]] = {}
        for row in rows:
            if name in row.params:
                arms_with.setdefault(row.params[name], []).append(row.name)
        table.add_row(name, "; ".join(f"{value} ({', '.join(arms)})" for value, arms in arms_with.items()))
    return table


def _table(title: str, rows: Sequence[Compared], columns: Sequence[Column], caption: str | None) -> Table:
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    table.add_column("arm", no_wrap=True)
    for column in columns:
        table.add_column(column.label, justify="right", overflow="fold")
    for row in rows:
        table.add_row(row.name, *(column.cell(row).text for column in columns))
    return table
