"""Loss curves of an arm's trainings, for the seeds that were not streamed live, and their mean."""

from collections.abc import Iterator

import pandas as pd

from winnow.stages import FinishedParts

HISTORY = "history.parquet"


def finetune_points(model: FinishedParts, streamed: set[str]) -> Iterator[tuple[str, float, int]]:
    """Points (name, value, step): each reused seed's loss, the mean over all seeds, and the learning rate."""
    histories = {seed: pd.read_parquet(part.path / HISTORY) for seed, part in model.parts.items()}
    for seed, history in histories.items():
        name = f"finetune/loss/seed_{seed}"
        if name not in streamed:
            yield from ((name, loss, int(step)) for step, loss in zip(history["step"], history["loss"], strict=True))
    together = pd.concat(histories.values()).groupby("step")[["loss", "lr"]].mean()
    for step, loss, lr in together.itertuples():
        yield "finetune/loss", loss, int(step)
        yield "finetune/lr", lr, int(step)
