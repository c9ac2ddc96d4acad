"""`kedro compare`: arms or past runs side by side, from the tracking store."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.commands.writing import DPI, replace_file, text_file

if TYPE_CHECKING:
    from winnow.report.compared import Compared
    from winnow.tracking.runs import Found

DIFFERENT_QUESTIONS = (
    "These arms were not asked the same: their accuracies cannot be ranked. They were evaluated on other rows (data, "
    "split, `evaluate.limit`) or their answers were made otherwise (`evaluate.decoding`, `evaluate.max_new_tokens`)."
)
OTHER_CONTROLS = (
    "Verdicts are those of each arm's own study: its control there may be another one than the arm of that name here."
)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--study", metavar="NAME", help="Look among this study's runs alone (`study.name`).")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where files go; else a folder of its own in data/08_reporting/compare.",
)
def compare(runs: tuple[str, ...], study: str | None, output: Path | None) -> None:
    """Set arms or past runs side by side: what differs, accuracy with intervals, verdicts, cost.

    RUN is a run's id or how it begins, or the name of an arm, a run or a study; of a name the newest is taken. The run
    of a study stands for all its arms. Without RUN these are the arms of the newest study
    that is no sweep's setting. The table is printed;
    comparison.csv, gain_against_cost.png and comparison.html (one file, with interactive figures and examples that can
    be searched) are written.

    \b
    kedro compare
    kedro compare random less
    kedro compare 2a064d 7f10be --output lr
    kedro compare --study full
    """
    from winnow.commands.kindly import kindly

    kindly(lambda: _compare(runs, study, output))


def _compare(runs: Sequence[str], study: str | None, output: Path | None) -> None:
    import os

    from winnow.commands.compare_table import show
    from winnow.report.compared import best_first, have_other_controls, were_asked_differently
    from winnow.settings import DATA_ROOT, PROJECT
    from winnow.tracking import store_of
    from winnow.tracking.runs import Runs

    found = Runs(store_of(PROJECT, os.environ), study).find(runs)
    rows = best_first(found.rows)
    warnings = [DIFFERENT_QUESTIONS] if were_asked_differently(rows) else []
    warnings += [OTHER_CONTROLS] if have_other_controls(rows) else []
    show(found.title, rows)
    for line in warnings:
        click.echo(f"\n{line}")
    folder = output or DATA_ROOT / "08_reporting" / "compare" / _name(rows)
    click.echo()
    for file in _write(folder, found, warnings):
        click.echo(file)


def _write(folder: Path, found: "Found", warnings: Sequence[str]) -> list[Path]:
    """Each file whole or not at all."""
    from winnow.report.compared import best_first, table_of
    from winnow.report.gain_cost import draw_gain_cost
    from winnow.report.page import Page, render

    rows = best_first(found.rows)
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw_gain_cost(rows)
    page = render(Page(found.title, rows, found.shared, warnings))
    files = {
        "comparison.csv": lambda path: table_of(rows).to_csv(path, index=False),
        "gain_against_cost.png": lambda path: figure.savefig(path, format="png", dpi=DPI),
        "comparison.html": text_file(page),
    }
    for name, write in files.items():
        replace_file(folder / name, write)
    return [folder / name for name in files]


def _name(rows: "Sequence[Compared]") -> str:
    """The same arms of the same runs have the same folder."""
    return hashlib.sha256("\n".join(sorted(row.run for row in rows)).encode()).hexdigest()[:8]
