"""The order of k-center greedy is that of the plain way, however few rows are looked at together."""

from itertools import islice

import numpy as np
import pandas as pd
import polars as pl
import pytest

from winnow.baselines import farthest_first as module
from winnow.baselines.farthest_first import farthest_first
from winnow.selection import rank_by_distance


def plain(points: np.ndarray, first: int) -> list[int]:
    """One at a time, with a pass over all rows for each."""
    points = points.astype(np.float64)
    order = [first]
    nearest = points @ points[first]
    nearest[first] = np.inf
    while len(order) < len(points):
        row = int(nearest.argmin())
        order.append(row)
        nearest = np.maximum(nearest, points @ points[row])
        nearest[row] = np.inf
    return order


def directions(rows: int, hidden: int, groups: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    points = random.standard_normal((groups, hidden))[random.integers(0, groups, rows)]
    points = points + 0.3 * random.standard_normal((rows, hidden))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("looked_at", [1, 3, 20, 5000])
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_the_order_is_that_of_the_plain_way(monkeypatch: pytest.MonkeyPatch, looked_at: int, block_bytes: int):
    monkeypatch.setattr(module, "LOOKED_AT", looked_at)
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    for seed, groups in enumerate((1, 5, 150)):
        points = directions(150, 8, groups, seed)
        found = list(farthest_first(points, first=7))
        assert [place for place, _ in found] == plain(points, 7)
        cosines = [cosine for _, cosine in found]
        assert cosines[0] == -1
        assert cosines[1:] == sorted(cosines[1:])


def test_equal_rows_come_last_and_by_their_places(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LOOKED_AT", 2)
    points = np.eye(4, dtype=np.float16)[[0, 1, 1, 2, 3, 3, 0, 0]]
    assert [place for place, _ in farthest_first(points, first=0)] == [0, 1, 3, 4, 2, 5, 6, 7]


def test_only_what_is_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch):
    products = []
    cosines = module._cosines
    monkeypatch.setattr(module, "_cosines", lambda *sides: products.append(sides) or cosines(*sides))
    list(islice(farthest_first(directions(3000, 16, 40, 0), first=0), 100))
    assert len(products) < 40, "a plain way takes 100 passes"


def test_what_was_not_ordered_follows_at_random():
    pool = pd.DataFrame({"example_id": [f"e{number}" for number in range(50)]})
    order = pl.DataFrame({"example_id": ["e7", "e3"], "distance": [2.0, 0.5]})
    one, other = (rank_by_distance(pool, order, seed) for seed in (0, 1))
    assert one["example_id"].tolist()[:2] == other["example_id"].tolist()[:2] == ["e7", "e3"]
    assert one["example_id"].tolist() != other["example_id"].tolist()
    assert sorted(one["example_id"]) == sorted(pool["example_id"])
    assert one["rank"].tolist() == list(range(50))
