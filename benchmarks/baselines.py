"""k-center greedy over rows that are looked at together, against a pass over all rows for each choice.

python benchmarks/baselines.py [rows] [chosen] [hidden]
"""

import json
import sys
import time
from itertools import islice

import numpy as np

from winnow.baselines.farthest_first import farthest_first

TURNS = 3


def plain(points: np.ndarray, count: int) -> list[int]:
    order, nearest = [0], points @ points[0]
    while len(order) < count:
        nearest[order[-1]] = np.inf
        order.append(int(nearest.argmin()))
        np.maximum(nearest, points @ points[order[-1]], out=nearest)
    return order


def main(rows: int = 30_000, count: int = 3_000, hidden: int = 512) -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((300, hidden)) + 2 * random.standard_normal(hidden)
    points = centres[random.integers(0, len(centres), rows)] + random.standard_normal((rows, hidden))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    ratios = []
    for _ in range(TURNS):
        start = time.perf_counter()
        expected = plain(points, count)
        middle = time.perf_counter()
        found = [place for place, _ in islice(farthest_first(points, 0), count)]
        ratios.append(round((middle - start) / (time.perf_counter() - middle), 2))
    # Sums in another order differ in their last digit, which decides between rows that are as far as each other.
    same = next((place for place, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1]), count)
    common = len(set(expected) & set(found)) / count
    sizes = {"rows": rows, "chosen": count, "hidden": hidden}
    print(json.dumps({**sizes, "times_as_fast": sorted(ratios), "same_up_to": same, "in_common": round(common, 3)}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
