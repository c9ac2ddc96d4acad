"""What several tests of trainings look at."""

from pathlib import Path

import pandas as pd


def history(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "history.parquet")
