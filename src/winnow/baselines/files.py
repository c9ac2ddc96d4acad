"""Embeddings on disk: one array that is read memory-mapped, so that it may be larger than memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open

EMBEDDINGS = "embeddings.npy"


def write_joined(path: Path, shards: Sequence[Path], rows: int) -> None:
    """Join the arrays `embedding` of ``shards``, one in memory at a time."""
    joined, place = None, 0
    for shard in shards:
        with safe_open(shard, framework="numpy") as file:
            part = file.get_tensor("embedding")
        if joined is None:
            joined = np.lib.format.open_memmap(path, "w+", part.dtype, (rows, part.shape[1]))
        joined[place : place + len(part)] = part
        place += len(part)
    assert joined is not None
    assert place == rows
    joined.flush()


def read_embeddings(folder: Path) -> np.ndarray:
    """Unit embeddings [different rows, hidden], memory-mapped."""
    found: np.ndarray = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
    return found
