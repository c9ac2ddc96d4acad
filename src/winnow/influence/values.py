"""Numbers with names and errors: what heatmaps draw."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Values:
    """Values and their standard errors, one per name of each axis."""

    rows: list[str]
    columns: list[str]
    values: np.ndarray
    errors: np.ndarray
