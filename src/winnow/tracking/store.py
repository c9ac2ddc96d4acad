"""A thin layer over MlflowClient: runs, batches, artifacts, lineage."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from winnow.params import Params

MAX_VALUE = 500
BATCH = 900


class Store:
    """One tracking store and one experiment in it. mlflow is imported here, at the first run, and not before."""

    def __init__(self, uri: str, project: Path, experiment: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(experiment)
        # An artifact location that is not absolute would follow the working directory.
        local = (project / "mlartifacts" / experiment).as_uri() if uri.startswith("sqlite:") else None
        self.experiment = found.experiment_id if found else self.client.create_experiment(experiment, local)

    def start(self, name: str, tags: Mapping[str, str]) -> str:
        """Begin a run and return its id."""
        return str(self.client.create_run(self.experiment, run_name=name, tags=dict(tags)).info.run_id)

    def end(self, run: str, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run, status)

    def params(self, run: str, params: Mapping[str, Any]) -> None:
        """Log parameters; a long value is cut."""
        from mlflow.entities import Param

        entities = [Param(key, str(value)[:MAX_VALUE]) for key, value in params.items()]
        for start in range(0, len(entities), 100):
            self.client.log_batch(run, params=entities[start : start + 100])

    def metrics(self, run: str, points: Iterable[tuple[str, float, int]]) -> None:
        """Log points of (name, value, step) in large batches."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entities = [Metric(name, float(value), now, step) for name, value, step in points]
        for start in range(0, len(entities), BATCH):
            self.client.log_batch(run, metrics=entities[start : start + BATCH])

    def artifact(self, run: str, file: Path, folder: str) -> None:
        """Log a file under ``folder``."""
        if file.exists():
            self.client.log_artifact(run, str(file), artifact_path=folder)

    def inputs(self, run: str, fingerprints: Mapping[str, str]) -> None:
        """Log which data a run used, by fingerprint."""
        from mlflow.entities import Dataset, DatasetInput

        known = [
            DatasetInput(Dataset(name=name, digest=digest, source_type="winnow", source=f"{name}@{digest}"), [])
            for name, digest in fingerprints.items()
        ]
        self.client.log_inputs(run, known)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        plain = value.model_dump(mode="json") if isinstance(value, Params) else value
        if isinstance(plain, Mapping) and plain:
            flat |= flatten(plain, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = plain
    return flat


def reachable(uri: str) -> str:
    """Why a tracking store does not answer; empty where it does."""
    import os

    from mlflow import MlflowClient

    # The default is to try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception as error:
        return f"not reachable: {(str(error).splitlines() or [type(error).__name__])[0]}"
    return ""
