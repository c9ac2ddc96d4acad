"""Stores in LESS's files, both ways."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from winnow.errors import BadInput
from winnow.gradients.less_files import export_less, import_less
from winnow.gradients.quantize import encode
from winnow.gradients.store import FeatureStore, require_comparable, seal_store, write_shard
from winnow.influence.scores import score_store, unit_rows
from winnow.stages import Work, locate


def make_store(folder: Path, rows: np.ndarray) -> FeatureStore:
    made_with = {"model": "abc@20", "feature": "adam"}
    with Work.resume(locate(folder, "store", 1, {}, {})) as work:
        work.commit("shards/00000.safetensors", lambda path: write_shard(path, encode(rows, "float32"), rows[:, 0]))
        shards = {"shards/00000.safetensors": [[f"e{n}"] for n in range(len(rows))]}
        tables = seal_store(work, "float32", rows.shape[1], shards, made_with)
        return FeatureStore(work.finish({"tables": tables}, {}).path)


def test_an_exported_store_comes_back_as_it_was(tmp_path: Path):
    rows = np.random.default_rng(0).standard_normal((9, 32)).astype(np.float32)
    folder = export_less(make_store(tmp_path, rows), "train", tmp_path / "grads")
    assert folder == tmp_path / "grads" / "train-ckpt20-adam" / "dim32"
    tensor = torch.load(folder / "all_orig.pt", weights_only=True)
    assert torch.allclose(tensor, torch.from_numpy(unit_rows(rows)), atol=1e-6)
    ids = json.loads((folder / "ids.json").read_text())
    back = FeatureStore(import_less(folder / "all_unormalized.pt", ids, "float32", "llama", tmp_path).path)
    names, features = back.features()
    assert names == ids
    assert np.allclose(features, rows, atol=1e-5)
    same = import_less(folder / "all_orig.pt", ids, "float16", "llama", tmp_path)
    require_comparable(back, FeatureStore(same.path))
    expected = unit_rows(rows) @ unit_rows(rows[:2]).T
    assert np.allclose(np.concatenate(score_store(FeatureStore(same.path), unit_rows(rows[:2]))), expected, atol=2e-3)
    other = import_less(folder / "all_orig.pt", ids, "float16", "mistral", tmp_path)
    with pytest.raises(BadInput, match="are not comparable"):
        require_comparable(back, FeatureStore(other.path))


def test_a_tensor_that_does_not_fit_its_ids_is_refused(tmp_path: Path):
    torch.save(torch.zeros(3, 4), tmp_path / "all_orig.pt")
    with pytest.raises(BadInput, match=r"holds \(3, 4\) for 2 ids"):
        import_less(tmp_path / "all_orig.pt", ["a", "b"], "float16", "x", tmp_path)
    with pytest.raises(BadInput, match=r"for 3 ids \(2 different ones\)"):
        import_less(tmp_path / "all_orig.pt", ["a", "b", "a"], "float16", "x", tmp_path)
