"""MLflow: one parent run per `kedro run`, one child run per arm. Nothing else in Winnow imports mlflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.tracking.hooks import TrackingHooks, end_killed
from winnow.tracking.sweep import SweepRun, track_sweep

__all__ = ["SweepRun", "TrackingHooks", "end_killed", "hooks", "is_off", "store_of", "track_sweep"]


def store_of(project: Path, environment: Mapping[str, str]) -> str:
    """The tracking store: the user's, else a SQLite file in the project."""
    return environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project}/mlflow.db"


def is_off(environment: Mapping[str, str]) -> bool:
    """Whether the user wants no tracking at all."""
    return environment.get("WINNOW_TRACKING", "on").lower() in ("off", "0", "false")


def hooks(project: Path, environment: Mapping[str, str]) -> tuple[Any, ...]:
    """The hooks that `settings.py` registers."""
    from winnow.console import ProgressHooks, ReportHooks

    store = store_of(project, environment)
    shown = (ProgressHooks(), ReportHooks(project, store))
    if is_off(environment):
        return shown
    return (TrackingHooks(project, store), *shown)
