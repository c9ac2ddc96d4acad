"""What a notebook begins with: the catalog and the tracking store, found from whatever folder it is opened in."""

import os
from contextlib import chdir
from typing import TYPE_CHECKING

from winnow.paths import PROJECT

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol


def open_catalog() -> "CatalogProtocol":
    """All data by name, of the environment in `KEDRO_ENV`, under `WINNOW_DATA_ROOT` where that is set."""
    # Kedro takes conf/logging.yml from the folder it is first imported in; its own default tells of every dataset.
    with chdir(PROJECT):
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
    bootstrap_project(PROJECT)
    return KedroSession.create(PROJECT).load_context().catalog


def tracking_uri() -> str:
    """Where runs are tracked: `MLFLOW_TRACKING_URI`, else the project's own file."""
    with chdir(PROJECT):
        from winnow.tracking import store_of
    return store_of(PROJECT, os.environ)
