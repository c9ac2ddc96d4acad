"""What is stored can be read, has lost no more than theory says, and is never mixed with what is not comparable."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from winnow.errors import BadInput, StaleOutput
from winnow.gradients.quantize import BITS, FLOATS, decode, encode, pack, row_bytes, unpack
from winnow.gradients.store import FeatureStore, Shard, require_comparable, require_data, seal_store, write_shard
from winnow.influence.scores import Queries, mean_queries, score_store, unit_rows
from winnow.stages import Work, locate

KINDS = [*FLOATS, *BITS]
# 1 - cos^2 of a normal variable and its best code of so many bits (Max, 1960; int8: 40.57 dB).
LOST = {"int8": 8.77e-5, "4-bit": 0.0116, "2-bit": 0.1189, "1-bit": 0.3634}
ROUNDED = {"float32": 1e-12, "float16": 1e-6, "bfloat16": 1e-4}


def normal(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32) * 1e-4


def make_store(folder: Path, rows: np.ndarray, kind: str, **made_with: object) -> FeatureStore:
    place = locate(folder, "store", 1, {"kind": kind, **made_with}, {})
    shards: dict[str, list[list[str]]] = {}
    with Work.resume(place) as work:
        for start in range(0, len(rows), 5):
            name, part = f"shards/{start // 5:05}.safetensors", encode(rows[start : start + 5], kind)
            work.commit(name, lambda path, part=part: write_shard(path, part, np.ones(len(part.norm))))
            shards[name] = [[f"e{number:02}"] for number in range(start, start + len(part.norm))]
        tables = seal_store(work, kind, rows.shape[1], shards, made_with)
        return FeatureStore(work.finish({"tables": tables}, {}).path)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_lose_what_the_theory_of_quantisation_says(kind: str):
    rows = normal(40, 4096)
    encoded = encode(rows, kind)
    codes = encoded.codes if kind in FLOATS else encoded.codes.numpy()
    found, rows = (part.astype(np.float64) for part in (decode(codes, kind, 4096) * encoded.scale[:, None], rows))
    cosine = (found * rows).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(rows, axis=1)
    lost = np.mean(1 - cosine**2)
    assert lost < ROUNDED[kind] if kind in FLOATS else lost == pytest.approx(LOST[kind], rel=0.05)
    assert np.allclose((found * rows).sum(axis=1), (rows**2).sum(axis=1), rtol=1e-4), "nothing is lost along the row"
    assert np.allclose(encoded.norm, np.linalg.norm(rows, axis=1), rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [8, 64, 13])
def test_packing_is_undone_by_unpacking(bits: int, dim: int):
    levels = np.random.default_rng(0).integers(0, 1 << bits, (3, dim)) * 2 - ((1 << bits) - 1)
    assert np.array_equal(unpack(pack(levels.astype(np.float32), bits), bits, dim), levels)


@pytest.mark.parametrize("kind", KINDS)
def test_cosines_are_those_of_the_decoded_rows(kind: str, tmp_path: Path):
    rows = np.concatenate([normal(23, 256), np.zeros((1, 256), np.float32), normal(1, 256, 5) * np.nan])
    store = make_store(tmp_path, rows, kind)
    names, decoded = store.features()
    assert names == [f"e{n:02}" for n in range(24)]
    assert store.rejected().rows() == [("e24", "its gradient is not finite (loss 1)")]
    queries = normal(3, 256, seed=1) * 1e4
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.divide(decoded @ queries.T, norms[:24], out=np.zeros((24, 3), np.float32), where=norms[:24] != 0)
    found = np.concatenate(score_store(store, queries))
    size = np.linalg.norm(queries, axis=1)
    assert np.allclose(found[:24] / size, expected / size, atol=0.06 / np.sqrt(256) if BITS.get(kind, 8) < 8 else 1e-5)
    assert np.isnan(found[24]).all()
    assert (found[23] == 0).all()


@pytest.mark.parametrize("kind", ["1-bit", "2-bit", "4-bit"])
def test_whole_numbers_as_queries_are_counted_exactly(kind: str, tmp_path: Path):
    store = make_store(tmp_path, normal(70, 128), kind)
    queries = np.random.default_rng(3).integers(0, 256, (5, 128)).astype(np.float32)
    queries[:, 0], queries[:, 1] = 0, 255
    (first, *_), shard = score_store(store, queries), next(store.shards())
    levels = decode(shard.codes, kind, 128)
    assert np.allclose(first, levels @ queries.T * (shard.scale / shard.norm)[:, None], rtol=1e-5)


def test_many_rows_and_queries_have_the_products_of_numpy():
    """More than a block of rows, and numbers of rows and queries that fill no group of four."""
    rows = normal(131, 96)
    for kind in KINDS:
        encoded = encode(rows, kind)
        codes = encoded.codes.view(torch.int16).numpy().view(np.uint16) if kind == "bfloat16" else encoded.codes.numpy()
        found = Queries(np.eye(96, dtype=np.float32)[:7] * 255, kind).cosines(
            Shard(codes, encoded.norm, encoded.scale, encoded.norm)
        )
        levels = decode(encoded.codes if kind in FLOATS else codes, kind, 96)
        expected = 255 * levels[:, :7] * (encoded.scale / encoded.norm)[:, None]
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_mean_over_a_subtask_is_the_mean_of_the_cosines(tmp_path: Path):
    rows, validation = normal(9, 512), normal(6, 512, seed=4)
    groups = ["b", "a", "b", "b", "a", "c"]
    means = mean_queries(unit_rows(validation), groups)
    assert list(means) == ["b", "a", "c"]
    found = np.concatenate(score_store(make_store(tmp_path, rows, "float32"), np.stack(list(means.values()))))
    cosines = unit_rows(rows) @ unit_rows(validation).T
    expected = np.stack([cosines[:, [n for n, g in enumerate(groups) if g == name]].mean(axis=1) for name in means], 1)
    assert np.allclose(found, expected, atol=1e-6)


def test_a_store_can_be_read_without_winnow(tmp_path: Path):
    """From the manifest's words alone: safetensors, numpy and json."""
    rows = normal(7, 64)
    store = make_store(tmp_path, rows, "2-bit")
    manifest = json.loads((store.folder / "manifest.json").read_text())
    assert manifest["reading"].startswith("feature = scale * (2 * c - 3)")
    tensors = load_file(store.folder / manifest["shards"][0]["file"])
    codes = tensors["codes"].numpy()
    c = np.stack([(codes >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2).reshape(5, 64)
    feature = tensors["scale"].numpy()[:, None] * (2.0 * c - 3)
    assert np.allclose(feature, store.features(["e00", "e01", "e02", "e03", "e04"])[1], rtol=1e-6)
    assert manifest["row_bytes"] == row_bytes("2-bit", 64) == 16 + 8


def test_a_store_tells_what_is_not_in_it_and_what_was_changed(tmp_path: Path):
    store = make_store(tmp_path, normal(7, 64), "1-bit")
    store.verify()
    with pytest.raises(BadInput, match="has no features of 'other'"):
        store.features(["e01", "other"])
    with (store.folder / "shards" / "00001.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(StaleOutput, match=r"00001\.safetensors was changed"):
        store.verify()
    with pytest.raises(StaleOutput, match="holds no manifest"):
        FeatureStore(tmp_path)


def test_features_of_other_data_are_refused(tmp_path: Path):
    store = make_store(tmp_path, normal(3, 64), "1-bit", data="abc")
    require_data(store, "abc")
    with pytest.raises(BadInput, match=r"of other data \(tokens abc\) than asked for \(xyz\)"):
        require_data(store, "xyz")


@pytest.mark.parametrize("name", ["projection", "model", "tokenizer", "template"])
def test_features_that_are_not_comparable_are_refused(name: str, tmp_path: Path):
    same = {"projection": "p", "model": "m", "tokenizer": "t", "template": "c"}
    one = make_store(tmp_path, normal(3, 64), "1-bit", **same)
    require_comparable(one, make_store(tmp_path, normal(3, 64), "float32", **same))
    with pytest.raises(BadInput, match=f"their {name} differs"):
        require_comparable(one, make_store(tmp_path, normal(3, 64), "float32", **{**same, name: "other"}))
