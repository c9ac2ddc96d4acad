"""What `kedro sweep` prints and writes when all settings were tried."""

import json
import math
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from winnow.commands.writing import DPI, replace_file, text_file
from winnow.report.sweep import MEASURES, Tried, apart, carried_over, ranking, sentences, told
from winnow.report.sweep_figures import draw_relation, draw_sweep
from winnow.report.sweep_relation import Relation, relate, tell
from winnow.sweeps import label, same_tokens, spelled

if TYPE_CHECKING:
    from winnow.commands.sweep import Sweep

WIDTH = 150
MOST_ROWS = 20


def conclude(asked: "Sweep", order: Sequence[Tried], left_out: int) -> tuple[Path, dict[str, float]]:
    """Print and write what a ranking says; returns the folder, and the numbers for the tracker."""
    from winnow.settings import DATA_ROOT

    table = ranking(order, asked.by)
    relation = _relation(order) if same_tokens(asked.grid) else None
    words = [*sentences(order, asked.grid, asked.by), *carried_over(order, asked.grid, asked.by)]
    words += [tell(relation)] if relation else []
    if left_out:
        words.append(f"{left_out} rows are left out: with some settings they cannot be asked, for example as too long.")
    _show(order, asked)
    for line in words:
        click.echo(f"  {line}")
    folder = DATA_ROOT / "08_reporting" / "sweeps" / asked.id
    _write(folder, asked, table, relation, words)
    return folder, _metrics(table, relation)


def _relation(order: Sequence[Tried]) -> Relation:
    """Settings that gave the same answers are one point: what differs between them had no effect."""
    results = [one.result for one in apart(order) if one.result]
    losses, accuracies = (np.array([found.estimate(by).mean for found in results]) for by in MEASURES)
    return relate(losses, accuracies)


def best_command(asked: "Sweep", best: Tried) -> str:
    """How to run the best setting, and to have it evaluated on held-out rows."""
    from winnow.recipes import read_recipe
    from winnow.tracking.store import flatten

    config = asked.options["config"]
    recipe = flatten(read_recipe(config).get("params", {})) if config else {}
    given = flatten(asked.options["params"])
    params = {name: value for name, value in given.items() if name not in recipe or recipe[name] != value}
    params |= best.values
    if "evaluate.split" in {*given, *recipe}:
        params["evaluate.split"] = "held_out"
    options = {"--config": config and _near(config), "--env": asked.options["env"]}
    options |= {"--conf-source": asked.options["conf_source"], "--params": label(params)}
    words = [word for name, value in options.items() if value for word in (name, str(value))]
    return shlex.join(["kedro", "run", "--pipelines", asked.arm, *words])


def _near(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _show(order: Sequence[Tried], asked: "Sweep") -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, WIDTH))
    more = f"{len(order) - MOST_ROWS} more are in sweep.csv" if len(order) > MOST_ROWS else None
    title = f"Ranked by {MEASURES[asked.by]}; 95 % intervals over seeds"
    table = Table(title=title, caption=more, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    for name in ("rank", *asked.grid, *MEASURES.values(), "seeds", "work", "memory"):
        table.add_column(name, justify="right")
    for rank, one in enumerate(order[:MOST_ROWS], 1):
        values = [Text(spelled(value)) for value in one.values.values()]
        if found := one.result:
            reached = [told(found.estimate(by), by) for by in MEASURES]
            cost = [f"{found.seconds:.0f} s", f"{found.peak_memory_gb:.2f} GB"]
            table.add_row(str(rank), *values, *reached, str(len(found.losses)), *cost)
        else:
            table.add_row("", *values, "failed")
    console.print()
    console.print(table)


def _write(folder: Path, asked: "Sweep", table: pd.DataFrame, relation: Relation | None, words: Sequence[str]) -> None:
    """Each file whole or not at all; a sweep that is ranked again replaces them."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: asked.options[name] for name in ("pipeline", "by", "env", "sample", "seed", "params")}
    replace_file(folder / "sweep.json", text_file(json.dumps({"grid": asked.grid, **settings}, indent=1) + "\n"))
    replace_file(folder / "summary.txt", text_file("".join(f"{line}\n" for line in words)))
    typed = table.assign(**{key: table[key].map(spelled) for key in asked.grid})
    replace_file(folder / "sweep.csv", lambda path: typed.to_csv(path, index=False))
    figures = {"sweep": draw_sweep(table, asked.grid, asked.by)}
    figures |= {"loss_and_accuracy": draw_relation(table, relation)} if relation else {}
    for name, figure in figures.items():
        replace_file(folder / f"{name}.png", partial(figure.savefig, format="png", dpi=DPI))


def _metrics(table: pd.DataFrame, relation: Relation | None) -> dict[str, float]:
    numbers: dict[str, Any] = {f"sweep/best_{name}": table[name].iloc[0] for name in MEASURES}
    if relation:
        numbers |= {"sweep/pearson": relation.pearson.value, "sweep/spearman": relation.spearman.value}
    return {name: float(value) for name, value in numbers.items() if not math.isnan(value)}
