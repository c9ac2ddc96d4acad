"""Losses of the rows that were just trained on, taken from the training's own forward pass."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch
from torch.nn.functional import cross_entropy

from winnow.training.data import IGNORED

RECORDED = "recorded.parquet"
SCHEMA = {"step": pl.Int64, "example_id": pl.String, "loss": pl.Float32}


class Recorder:
    """Keeps the losses since the last checkpoint, and writes them with it: what a kill loses is trained again."""

    def __init__(self, folder: Path, process: int) -> None:
        self.folder = folder
        self.process = process
        self.rows: list[tuple[int, str, float]] = []

    @torch.no_grad()
    def add(self, step: int, example_ids: Sequence[str], logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Note the mean loss of each row of a batch."""
        wanted = labels[:, 1:]
        by_token = cross_entropy(
            logits[:, :-1].float().transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none"
        ).sum(dim=1)
        losses = (by_token / (wanted != IGNORED).sum(dim=1)).tolist()
        self.rows += [(step, name, loss) for name, loss in zip(example_ids, losses, strict=True)]

    def save(self, step: int) -> None:
        """Write what came since the last checkpoint."""
        file = self.folder / f"recorded-{step:08}-{self.process:04}.parquet"
        scratch = file.with_suffix(".writing")
        pl.DataFrame(self.rows, schema=SCHEMA, orient="row").write_parquet(scratch)
        scratch.replace(file)
        self.rows = []


def join_recorded(folder: Path) -> None:
    """One table of all checkpoints' parts; after a kill, parts may be left beside it, or some of them."""
    parts = sorted(folder.glob("recorded-*.parquet"))
    if parts and not (folder / RECORDED).exists():
        scratch = folder / "recorded.writing"
        pl.concat([pl.read_parquet(part) for part in parts]).sort("step", "example_id").write_parquet(scratch)
        scratch.replace(folder / RECORDED)
    for part in parts:
        part.unlink()
