"""Where a result belongs before it exists."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from winnow.stages.fingerprint import canonical, fingerprint
from winnow.stages.finished import RECORD, Finished


@dataclass(frozen=True)
class Place:
    """The address of one result: its stage, what decides it, and the directory it will have."""

    stage: str
    fingerprint: str
    folder: Path
    parameters: dict[str, Any]
    inputs: dict[str, str]

    @property
    def partial(self) -> Path:
        """Where work happens until the result is complete."""
        return self.folder.with_name(self.folder.name + ".partial")

    def finished(self) -> Finished | None:
        """The sealed result, if there is one."""
        return Finished.open(self.folder) if (self.folder / RECORD).exists() else None

    def to_json(self) -> str:
        """For a worker's `job.json`."""
        return json.dumps({**asdict(self), "folder": str(self.folder)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Place":
        """Read back what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "folder": Path(values["folder"])})


def locate(root: Path, stage: str, revision: int, parameters: Any, inputs: Mapping[str, str]) -> Place:
    """Compute where the result of ``stage`` belongs: ``root/stage/fingerprint``."""
    name = fingerprint(stage, revision, parameters, inputs)
    return Place(stage, name, root.resolve() / stage / name, canonical(parameters), dict(inputs))
