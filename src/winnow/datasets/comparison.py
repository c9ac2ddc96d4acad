"""The comparison of arms, kept over runs: a row per (settings, arm), the newest wins."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

KEYS = ["settings", "arm"]


class ComparisonDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """A parquet table whose rows replace earlier ones with the same settings and arm."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """All rows of all runs."""
        return pd.read_parquet(self._filepath)

    def save(self, data: pd.DataFrame) -> None:
        """Add the rows; what they replace moves to the end with them. Two runs at once lose no row of each other."""
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            rows = data
            if self._exists():
                earlier = self.load()
                replaced = pd.MultiIndex.from_frame(earlier[KEYS]).isin(pd.MultiIndex.from_frame(data[KEYS]))
                rows = pd.concat([earlier[~replaced], data], ignore_index=True)
            scratch = self._filepath.with_name(f"{self._filepath.name}.writing")
            rows.to_parquet(scratch, index=False)
            os.replace(scratch, self._filepath)

    def preview(self, nrows: int = 50) -> TablePreview:
        """The newest rows, for Kedro-Viz."""
        newest = self.load().tail(nrows).round(4)
        return TablePreview(newest.astype(object).where(newest.notna(), None).to_dict(orient="split"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._filepath.with_name(f".{self._filepath.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
