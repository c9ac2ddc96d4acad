"""MLflow: a sweep is one run, and the runs of its settings are its children."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.sweeps import label, spelled
from winnow.tracking.hooks import git_sha, labelled
from winnow.tracking.store import Point, Store


@dataclass(frozen=True)
class SweepRun:
    """The run of a sweep; without a store nothing is tracked."""

    sweep: str = ""
    store: Store | None = None
    run: str = ""

    def setting(self, values: Mapping[str, Any]) -> AbstractContextManager[None]:
        """The run that begins meanwhile is that of this setting, and can be found by the sweep and by each value."""
        if self.store is None:
            return nullcontext()
        tags = {f"winnow.sweep.{key}": spelled(value) for key, value in values.items()}
        return labelled(label(values), {**tags, "winnow.sweep": self.sweep, "mlflow.parentRunId": self.run})

    def log(self, folder: Path, metrics: Mapping[str, float]) -> None:
        """Log the files of a sweep's folder, and what was found."""
        if self.store is None:
            return
        self.store.metrics(self.run, [Point(name, value) for name, value in metrics.items()])
        for file in sorted(folder.iterdir()):
            self.store.artifact(self.run, file, "sweep")


@contextmanager
def track_sweep(uri: str, project: Path, study: str, sweep: str, settings: Mapping[str, Any]) -> Iterator[SweepRun]:
    """Begin the run of a sweep in the study's experiment, and end it as it deserves."""
    store = Store(uri, project, study)
    tags = {"winnow.study": study, "winnow.git_sha": git_sha(project), "winnow.kind": "sweep", "winnow.sweep": sweep}
    run = store.start("sweep", tags)
    status = "FAILED"
    try:
        store.params(run, settings)
        yield SweepRun(sweep, store, run)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        store.end(run, status)
