"""Stores in the files of LESS's own scripts, both ways: `<data>-ckpt<step>-<feature>/dim<dim>/all_orig.pt`."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from winnow.errors import BadInput
from winnow.gradients.quantize import encode
from winnow.gradients.store import FeatureStore, seal_store, write_shard
from winnow.stages import Finished, Work, filled, locate

NORMALIZED = "all_orig.pt"
WHOLE = "all_unormalized.pt"
IDS = "ids.json"
SHARD_ROWS = 4096


def export_less(store: FeatureStore, name: str, out: Path) -> Path:
    """Write a store as one tensor [rows, dim] of unit rows, one of whole rows, and the ids in their order."""
    feature, (_, step) = store.manifest["made_with"]["feature"], store.manifest["made_with"]["model"].split("@")
    folder = out / f"{name}-ckpt{step}-{feature}" / f"dim{store.dim}"
    folder.mkdir(parents=True, exist_ok=True)
    ids, features = store.features()
    norm = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    for file, rows in ((NORMALIZED, features / norm), (WHOLE, features)):
        scratch = folder / f"{file}.writing"
        torch.save(torch.from_numpy(rows), scratch)
        scratch.replace(folder / file)
    (folder / IDS).write_text(json.dumps(ids, indent=0), encoding="utf-8")
    return folder


def import_less(file: Path, ids: Sequence[str], kind: str, made_with: str, root: Path) -> Finished:
    """Take a tensor of LESS's scripts as a store, its rows named by ``ids``.

    ``made_with`` names what the features have in common: only imports of the same name are compared.
    """
    rows = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(rows, torch.Tensor) or rows.ndim != 2 or len(rows) != len(ids) or len(set(ids)) != len(ids):
        shape = tuple(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
        raise BadInput(
            f"{file} holds {shape} for {len(ids)} ids ({len(set(ids))} different ones). It should be one tensor with a "
            "row for each id, as LESS's scripts write it."
        )
    dim = int(rows.shape[1])
    identity = {"projection": {"kind": "imported", "dim": dim}, "feature": "imported", "data": made_with}
    identity |= {"model": f"{made_with}@0", "tokenizer": made_with, "template": made_with}
    inputs = {"file": str(file.resolve()), "bytes": str(file.stat().st_size), "changed": str(file.stat().st_mtime_ns)}
    place = locate(root, "imported_gradients", 1, {"kind": kind, "made_with": made_with, "ids": list(ids)}, inputs)

    def fill(work: Work) -> dict[str, Any]:
        shards: dict[str, list[list[str]]] = {}
        for number, start in enumerate(range(0, len(ids), SHARD_ROWS)):
            name = f"shards/{number:05}.safetensors"
            shards[name] = [[example] for example in ids[start : start + SHARD_ROWS]]
            if not work.is_committed(name):
                part = rows[start : start + SHARD_ROWS].float().numpy()
                unknown = np.full(len(part), np.nan, np.float32)
                work.commit(name, partial(write_shard, rows=encode(part, kind), losses=unknown))
        return {"tables": seal_store(work, kind, dim, shards, identity)}

    return filled(place, fill)
