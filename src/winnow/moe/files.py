"""Selected rows in the file that users of Select-MoE know: `selected_data.jsonl`."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from safetensors.numpy import load_file

from winnow.records.chosen import messages_of, write_lines

POOLED = "pooled.safetensors"


def write_selected(path: Path, ranking: pd.DataFrame, train: pl.LazyFrame, count: int) -> None:
    """Write the ``count`` first rows of a ranking, best first: `id`, `messages` and `score`."""
    best = ranking.sort_values("rank").head(count)
    messages = messages_of(train, set(best["example_id"]))
    pairs = zip(best["example_id"], best["score"], strict=True)
    write_lines(path, ({"id": name, "messages": messages[name], "score": float(score)} for name, score in pairs))


def read_pooled(folder: Path) -> np.ndarray:
    """Mean router probabilities [rows, layers x experts], in the order of the table `quality`."""
    return load_file(folder / POOLED)["pooled"]
