"""What a launcher and its worker agree on: the files of a job folder, and their content."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.params import Machine
from winnow.stages import Place

JOB = "job.json"
PROGRESS = "progress.jsonl"
RESULT = "result.json"
LOG = "worker.log"


@dataclass(frozen=True)
class Job:
    """One order to a worker. ``places`` are the results to build, ``task`` says how."""

    stage: str
    task: dict[str, Any]
    places: dict[str, Place]
    machine: Machine
    launcher: int
    folder: Path

    def write(self) -> Path:
        """Save as `job.json` in the job folder."""
        content = {
            "stage": self.stage,
            "task": self.task,
            "places": {name: json.loads(place.to_json()) for name, place in self.places.items()},
            "machine": self.machine.model_dump(mode="json"),
            "launcher": self.launcher,
        }
        path = self.folder / JOB
        # Without indents: mixes name each row of a pool.
        path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Read what `write` saved."""
        content = json.loads(path.read_text(encoding="utf-8"))
        places = {name: Place.from_json(json.dumps(place)) for name, place in content["places"].items()}
        machine = Machine.model_validate(content["machine"])
        return cls(content["stage"], content["task"], places, machine, content["launcher"], path.parent)
