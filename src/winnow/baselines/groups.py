"""The best score of each row over the queries of a subtask, as RDS+ and BM25 take it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from winnow.errors import NothingToTrainOn
from winnow.stages import PARTS, Work

SCORES = "scores"


class Subtasks:
    """Queries in the order of their subtasks."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.names = sorted(set(labels))
        number = np.searchsorted(self.names, labels)
        self.order = np.argsort(number, kind="stable")
        self.starts = np.searchsorted(number[self.order], np.arange(len(self.names)))

    def best(self, scores: np.ndarray) -> np.ndarray:
        """The largest of ``scores`` [rows, queries in this order] over each subtask's queries [rows, subtasks]."""
        return np.asarray(np.maximum.reduceat(scores, self.starts, axis=1), np.float32)


def labelled(usable: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    """The subtask of each usable target row; one that has none left cannot be scored for."""
    if lost := sorted(set(labels.values()) - {labels[name] for name in usable}):
        raise NothingToTrainOn(
            f"No row of the subtask {lost[0]!r} can be used by the base model's tokenizer. Raise "
            "`tokenize.max_length`, or leave the subtask out of `targets.sets`."
        )
    return [labels[name] for name in usable]


def part(number: int) -> str:
    """The file of a block of rows and their scores."""
    return f"{PARTS}/scores-{number:05}.npy"


def write_part(path: Path, scores: np.ndarray) -> None:
    """Write scores under exactly this name."""
    with path.open("wb") as file:
        np.save(file, scores, allow_pickle=False)


def read_parts(work: Work, count: int) -> np.ndarray:
    """The scores of all blocks [rows, subtasks]."""
    return np.concatenate([np.load(work.path / part(number), allow_pickle=False) for number in range(count)])


def seal(work: Work, ids: Sequence[str], scores: np.ndarray, names: Sequence[str], cost: Mapping[str, float]) -> None:
    """Seal the table of scores: example_id, sorted, and a column per subtask."""
    columns = {name: scores[:, place] for place, name in enumerate(names)}
    table = pl.DataFrame({"example_id": list(ids), **columns}).sort("example_id")
    work.finish({"tables": work.commit_tables({SCORES: table})}, cost)
