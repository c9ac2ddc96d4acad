"""What an arm chose and what choosing cost; the page that shows a study's arms side by side."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipelines.arms import ArmSpec
from winnow.report.compared import CHOOSING, Compared, no_examples, verdict_of
from winnow.report.gain_cost import draw_gain_cost
from winnow.report.page import Page, render
from winnow.report.ranked_examples import ranked_examples, rows_by_subset
from winnow.stages import Finished, FinishedParts
from winnow.tracking.store import flatten

# Models that come from elsewhere: the demo makes its own where a study would fetch one.
GIVEN = ("base", "pretrained")


def tell_selection(
    weights: pd.DataFrame, training_mix: pd.DataFrame, train: Finished, *chosen_with: Any
) -> tuple[dict[str, float], pd.DataFrame]:
    """Seconds computed for this arm's choice alone, rows it took of each subset; both ends of its ranking.

    ``chosen_with`` is all that lies between what every arm shares and this arm's ranking.
    """
    metrics = {CHOOSING: seconds_of(chosen_with), **rows_by_subset(training_mix, train.scan())}
    return metrics, ranked_examples(weights, training_mix, train.scan())


def seconds_of(results: tuple[Any, ...]) -> float:
    """The seconds that the finished directories among ``results`` took, each counted once."""
    parts: dict[str, Finished] = {}
    for result in results:
        own = result.parts.values() if isinstance(result, FinishedParts) else [result]
        parts |= {str(part.path): part for part in own if isinstance(part, Finished) and part.stage not in GIVEN}
    return float(sum(part.cost.get("seconds", 0.0) for part in parts.values()))


def show_study(arms: tuple[ArmSpec, ...], with_tasks: bool) -> Callable[..., tuple[str, Figure]]:
    """A node function that shows these arms.

    It takes the comparison and all parameters; then of each arm its description, its result, and its benchmark metrics
    where tasks are asked; then of those that choose rows what they chose, and examples.
    """

    def show(comparison: pd.DataFrame, parameters: dict[str, Any], *inputs: Any) -> tuple[str, Figure]:
        newest = comparison[comparison["settings"] == comparison["settings"].iloc[-1]].set_index("arm")
        given = iter(inputs)
        # Another run may have saved its comparison since: the arms that both have are shown.
        told = {arm.name: tuple(islice(given, 2 + with_tasks)) for arm in arms}
        rows = [_described(name, newest.loc[name], *parts) for name, parts in told.items() if name in newest.index]
        chose = {arm.name: (next(given), next(given)) for arm in arms if arm.size != "none"}
        rows = [_with_choice(row, *chose.get(row.arm, ({}, no_examples()))) for row in rows]
        everything = {name: str(value) for name, value in flatten(parameters).items()}
        page = Page(f"Study {newest['study'].iloc[-1]}", rows, everything)
        return render(page), draw_gain_cost(rows)

    return show


def _described(name: str, found: pd.Series, description: dict[str, Any], *metrics: dict[str, float]) -> Compared:
    return Compared(
        name=name,
        arm=name,
        params={key: str(value) for key, value in description["params"].items()},
        metrics={key: value for part in metrics for key, value in part.items()},
        seeds=int(found["seeds"]),
        control=str(found["control"]),
        study=str(found["study"]),
        **verdict_of(found.to_dict()),
    )


def _with_choice(row: Compared, selection: dict[str, float], examples: pd.DataFrame) -> Compared:
    return replace(row, metrics=row.metrics | selection, examples=examples)
