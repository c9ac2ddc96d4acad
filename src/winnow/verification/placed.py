"""Where a selection puts the rows of the pool: two small arrays in place of tables of names.

A ranking need not have every row: rows without a score, or that a mixture left out, are tied behind all that it has,
because no budget ever takes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Placed:
    """The rank of each row of the pool and how often it is trained on [seeds, rows], rows in the order of their ids."""

    ranks: np.ndarray
    times: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        """Whether each row is trained on [seeds, rows]."""
        return self.times > 0

    def to_frame(self) -> pd.DataFrame:
        """As a table with two columns for each seed."""
        columns = {f"rank_{seed}": ranks for seed, ranks in enumerate(self.ranks)}
        return pd.DataFrame(columns | {f"times_{seed}": times for seed, times in enumerate(self.times)})

    @classmethod
    def from_frame(cls, table: pd.DataFrame) -> "Placed":
        """Read back what `to_frame` wrote."""
        seeds = range(table.shape[1] // 2)
        ranks, times = (table[[f"{name}_{seed}" for seed in seeds]].to_numpy().T for name in ("rank", "times"))
        return cls(ranks, times)


def place(weights: pd.DataFrame, mix: pd.DataFrame, pool: Sequence[str]) -> Placed:
    """Rank and multiplicity of each row of ``pool``, from an arm's rankings and mixes; a seed is a row of each."""
    index = pd.Index(pool)
    seeds = sorted(weights["seed"].unique())
    ranks = np.full((len(seeds), len(index)), len(index), np.int32)
    times = np.zeros_like(ranks)
    for number, seed in enumerate(seeds):
        # A row that is ranked several times stands where it comes first.
        best = weights[weights["seed"] == seed].sort_values("rank").drop_duplicates("example_id")
        ranks[number, index.get_indexer(best["example_id"])] = np.arange(len(best))
        own = mix[mix["seed"] == seed]
        times[number, index.get_indexer(own["example_id"])] = own["multiplicity"]
    return Placed(ranks, times)
