"""A finished directory as a Kedro dataset: a small JSON record is stored, a handle is loaded."""

import json
import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview

from winnow.errors import StaleOutput
from winnow.stages import Finished, FinishedParts, load_record

Handle = Finished | FinishedParts


class Unloadable(StaleOutput, DatasetError):
    """A user's mistake that Kedro, too, passes on as it is."""


class FinishedDataset(AbstractDataset[Handle, Handle]):
    """Stores the record of a `Finished` or `FinishedParts`, and loads the handle back."""

    def __init__(self, *, filepath: str, data_root: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self._data_root = Path(data_root)
        self.metadata = metadata

    def load(self) -> Handle:
        """Open the finished directory; one that was deleted is a clear error."""
        try:
            return load_record(self._record(), self._data_root)
        except StaleOutput as error:
            raise Unloadable(str(error)) from None

    def save(self, data: Handle) -> None:
        """Write the record, all or nothing."""
        record = json.dumps(data.record(self._data_root), indent=1, ensure_ascii=False)
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._filepath.with_name(f"{self._filepath.name}.{os.getpid()}.writing")
        scratch.write_text(record, encoding="utf-8")
        os.replace(scratch, self._filepath)

    def preview(self) -> JSONPreview:
        """The record, for Kedro-Viz."""
        record = self.last_record() or {"state": "no run has made it yet"}
        return JSONPreview(json.dumps(record, ensure_ascii=False))

    def last_record(self) -> dict[str, Any] | None:
        """What the last run stored, for `kedro plan`."""
        return self._record() if self._exists() else None

    def _record(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._filepath.read_text(encoding="utf-8")))
        except FileNotFoundError:
            reason = "is not there: no run has made it yet, or it was deleted"
        except (ValueError, TypeError) as error:
            reason = f"is not a record ({error})"
        raise Unloadable(f"{self._filepath} {reason}. Run the pipeline that makes it, from the start: `kedro run`.")

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
