"""A finished directory as a Kedro dataset: a small JSON record is stored, a handle is loaded."""

import json
import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from winnow.stages import Finished, FinishedParts, load_record

Handle = Finished | FinishedParts


class FinishedDataset(AbstractDataset[Handle, Handle]):
    """Stores the record of a `Finished` or `FinishedParts`, and loads the handle back."""

    def __init__(self, *, filepath: str, data_root: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self._data_root = Path(data_root)
        self.metadata = metadata

    def load(self) -> Handle:
        """Open the finished directory; one that was deleted is a clear error."""
        return load_record(self._record(), self._data_root)

    def save(self, data: Handle) -> None:
        """Write the record, all or nothing."""
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._filepath.with_name(f"{self._filepath.name}.writing")
        scratch.write_text(json.dumps(data.record(self._data_root), indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(scratch, self._filepath)

    def preview(self) -> JSONPreview:
        """The record, for Kedro-Viz."""
        return JSONPreview(json.dumps(self._record(), ensure_ascii=False))

    def last_record(self) -> dict[str, Any] | None:
        """What the last run stored, for `kedro plan`."""
        return self._record() if self._exists() else None

    def _record(self) -> dict[str, Any]:
        return dict(json.loads(self._filepath.read_text(encoding="utf-8")))

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
