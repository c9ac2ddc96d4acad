"""Curves: of tables with a column `step`; of an arm's trainings, what was not streamed live and the mean over seeds."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.stages import FinishedParts
from winnow.tracking.store import Point

if TYPE_CHECKING:
    import pandas as pd

HISTORY = "history.parquet"


def finetune_points(model: FinishedParts, streamed: set[tuple[str, int]]) -> Iterator[Point]:
    """Each seed's loss at the steps that were not ``streamed``, the mean over all seeds, and the learning rate."""
    import pandas as pd

    histories = {seed: pd.read_parquet(part.path / HISTORY) for seed, part in model.parts.items()}
    for seed, history in histories.items():
        name = f"finetune/loss/seed_{seed}"
        for step, loss in zip(history["step"], history["loss"], strict=True):
            if (name, int(step)) not in streamed:
                yield Point(name, loss, int(step))
    together = pd.concat(histories.values()).groupby("step")[["loss", "lr"]].mean()
    for step, loss, lr in together.itertuples():
        yield Point("finetune/loss", loss, int(step))
        yield Point("finetune/lr", lr, int(step))
    yield from _course_points({seed: part.path for seed, part in model.parts.items()})


def _course_points(folders: Mapping[str, Path]) -> Iterator[Point]:
    """What was seen of the models on the way, the mean over all seeds."""
    from winnow.report.course import course_of, read_losses, read_samples

    course = course_of(read_losses(folders), read_samples(folders))
    yield from curve_points(course.rename(columns=lambda name: name if name == "step" else f"finetune/{name}"))


def curve_points(table: "pd.DataFrame") -> Iterator[Point]:
    """Every number of each column, at its step."""
    for name in table.columns.drop("step"):
        for step, value in zip(table["step"], table[name], strict=True):
            if math.isfinite(value):
                yield Point(name, value, int(step))
