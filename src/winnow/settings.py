"""Kedro's settings, and the one place where the Kedro side reads the environment.

`WINNOW_DATA_ROOT` moves all data layers, `MLFLOW_TRACKING_URI` names another tracking store, `WINNOW_TRACKING=off`
turns tracking off.
"""

import os
import warnings
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader

from winnow import paths
from winnow.registration import RegistrationHooks
from winnow.tracking import hooks

# The dots are meant: `<arm>.<dataset>` is the arm's namespace, also where a node outside of it reads.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")
warnings.filterwarnings("ignore", message="One or more dataset names contain '.'")

PROJECT = paths.PROJECT
DATA_ROOT = Path(os.environ.get("WINNOW_DATA_ROOT", PROJECT / "data")).resolve()


def _data_root() -> str:
    return DATA_ROOT.as_posix()


def _project() -> str:
    return PROJECT.as_posix()


CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": {"data_root": _data_root, "project": _project},
}
HOOKS = (RegistrationHooks(), *hooks(PROJECT, os.environ))
