"""Loss curves of an arm's trainings: what was not streamed live, and the mean over the seeds."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from winnow.stages import FinishedParts
from winnow.tracking.store import Point

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

    for row in course_of(read_losses(folders), read_samples(folders)).to_dict("records"):
        step = int(row.pop("step"))
        yield from (Point(f"finetune/{name}", value, step) for name, value in row.items() if value == value)
