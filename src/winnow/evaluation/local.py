"""Rows of local tasks, for lm-eval's `custom_dataset`."""

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict


def rows(benchmarks: str, task: str, **_: Any) -> DatasetDict:
    """All splits of one task; ``benchmarks`` is the folder that `winnow.records.benchmarks` wrote.

    Features are told from all rows, in memory: nothing is left in a cache that other data could be mistaken for.
    """
    files = sorted((Path(benchmarks) / "rows" / task).glob("*.parquet"))
    return DatasetDict({file.stem: Dataset.from_parquet(str(file), keep_in_memory=True) for file in files})
