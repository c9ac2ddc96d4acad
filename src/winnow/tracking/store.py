"""A thin layer over MlflowClient: runs, batches, artifacts, lineage."""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from winnow.errors import BadSetting, MissingResource
from winnow.params import Params

# The limits of MLflow's own checks.
MAX_VALUE = 6000
MAX_PARAMS = 100
MAX_METRICS = 1000
ILLEGAL = re.compile(r"[^\w.\- /]")
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
DATABASES = ("postgresql", "mysql")
CONNECT_SECONDS = 10


class Point(NamedTuple):
    """A metric's value at a step; `time` is in milliseconds."""

    name: str
    value: float
    step: int = 0
    time: int = 0


class Store:
    """One tracking store and one experiment in it. mlflow is imported here, at the first run, and not before."""

    def __init__(self, uri: str, project: Path, experiment: str) -> None:
        self.client = connect(uri)
        found = self.client.get_experiment_by_name(experiment)
        if found and found.lifecycle_stage == "deleted":
            raise BadSetting(
                f"The experiment {experiment!r} (`study.name`) was deleted in MLflow. Restore it with `mlflow "
                f"experiments restore --experiment-id {found.experiment_id}`, or choose another `study.name`."
            )
        place = artifact_root(uri, project)
        location = (place / legal(experiment).replace("/", "_")).as_uri() if place else None
        self.experiment = found.experiment_id if found else self.client.create_experiment(experiment, location)

    def start(self, name: str, tags: Mapping[str, str]) -> str:
        """Begin a run and return its id."""
        return str(self.client.create_run(self.experiment, run_name=name, tags=dict(tags)).info.run_id)

    def end(self, run: str, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run, status)

    def tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(run, tags=[RunTag(legal(key), value) for key, value in tags.items()])

    def params(self, run: str, params: Mapping[str, Any]) -> None:
        """Log parameters; a long value is cut."""
        from mlflow.entities import Param

        entities = [Param(legal(key), str(value)[:MAX_VALUE]) for key, value in params.items()]
        for start in range(0, len(entities), MAX_PARAMS):
            self.client.log_batch(run, params=entities[start : start + MAX_PARAMS])

    def metrics(self, run: str, points: Iterable[Point]) -> None:
        """Log points in large batches."""
        from mlflow.entities import Metric

        entities = [Metric(legal(name), float(value), when or now(), step) for name, value, step, when in points]
        for start in range(0, len(entities), MAX_METRICS):
            self.client.log_batch(run, metrics=entities[start : start + MAX_METRICS])

    def artifact(self, run: str, file: Path, folder: str) -> None:
        """Log a file, or a folder with all its files, under ``folder``."""
        self.client.log_artifact(run, str(file), artifact_path=folder)

    def inputs(self, run: str, fingerprints: Mapping[str, str]) -> None:
        """Log which data a run used, by fingerprint."""
        from mlflow.entities import Dataset, DatasetInput

        known = [
            DatasetInput(Dataset(name=name, digest=digest, source_type="winnow", source=f"{name}@{digest}"), [])
            for name, digest in fingerprints.items()
        ]
        self.client.log_inputs(run, known)


def now() -> int:
    """MLflow's clock."""
    return int(time.time() * 1000)


def legal(name: str) -> str:
    """A name that MLflow accepts; names that differ stay different."""
    changed = ILLEGAL.sub("_", "/".join(part for part in name.split("/") if part not in ("", ".", "..")))
    return changed if changed == name else f"{changed}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as dotted names; a mapping whose keys are the user's own data stays one value, as JSON."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        plain = value.model_dump(mode="json") if isinstance(value, Params) else value
        if not isinstance(plain, Mapping) or not plain:
            flat[f"{prefix}{key}"] = plain
        elif all(str(name).isidentifier() for name in plain):
            flat |= flatten(plain, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(plain, ensure_ascii=False, default=str)
    return flat


def artifact_root(uri: str, project: Path) -> Path | None:
    """Where figures and tables go: beside a SQLite file, in the project for another database; a server knows itself.

    MLflow's own default is relative to the working directory.
    """
    scheme, _, rest = uri.partition("://")
    if scheme.startswith("sqlite"):
        file = rest.split("?")[0].removeprefix("/")
        return Path(file).resolve().parent / "mlartifacts" if file else project / "mlartifacts"
    return project / "mlartifacts" if scheme.split("+")[0] in DATABASES else None


def hide_password(uri: str) -> str:
    """The address of a store as it may be shown."""
    return re.sub(r"://[^/@]*@", "://...@", uri)


def connect(uri: str) -> Any:
    """MLflow's client of a store that answers."""
    if problem := reachable(uri):
        raise MissingResource(
            f"The tracking store {hide_password(uri)} is {problem}. Start it, unset MLFLOW_TRACKING_URI to use a "
            "file in the project, or set WINNOW_TRACKING=off to run without."
        )
    return _client(uri)


def is_missing_file(uri: str) -> bool:
    """Whether the store is a file that no run has made yet; to look at it would make it."""
    file = uri.partition("?")[0].removeprefix("sqlite:///")
    return uri.startswith("sqlite:///") and bool(file) and not Path(file).exists()


def reachable(uri: str) -> str:
    """Why a tracking store does not answer; empty where it does."""
    with _impatient():
        try:
            _knock(uri)
            _client(uri).search_experiments(max_results=1)
        except Exception as error:
            return f"not reachable: {hide_password((str(error).splitlines() or [type(error).__name__])[0])}"
    return ""


def _knock(uri: str) -> None:
    """MLflow tries a database that is down fifteen times, for 100 seconds, and nothing can tell it not to."""
    scheme = uri.partition("://")[0].split("+")[0]
    if scheme in DATABASES:
        from sqlalchemy import create_engine

        create_engine(uri, connect_args={"connect_timeout": CONNECT_SECONDS}).connect().close()
    elif scheme == "sqlite" and (place := artifact_root(uri, Path())):
        folder = place.parent
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"the folder {folder} is not writable")


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@contextmanager
def _impatient() -> Iterator[None]:
    """MLflow tries for minutes by default: right in the midst of a run, wrong for a server that was never started."""
    before = os.environ.get(RETRIES)
    os.environ[RETRIES] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[RETRIES]
