"""k-center greedy: the next row is the one whose nearest chosen row is farthest away (Gonzalez, 1985).

For coreset selection: https://arxiv.org/abs/1708.00489. Done plainly, each choice is a pass over all rows. Here the
rows that are farthest away are looked at together: their distances among each other say who comes next, as long as that
one is still farther away than every row that is not among them, because distances to the chosen only shrink. Then one
product of matrices brings all rows up to date. The order is the plain one.
"""

from collections.abc import Iterator

import numpy as np
import torch

LOOKED_AT = 1024
BLOCK_BYTES = 64 << 20


def farthest_first(points: np.ndarray, first: int, device: str = "cpu") -> Iterator[tuple[int, float]]:
    """All places of ``points`` [rows, hidden], unit vectors in memory or on disk, with their cosine to those before.

    The cosine is that with the nearest row chosen before, and -1 of the ``first``; equal ones come by their places.
    """
    nearest = np.full(len(points), -np.inf, np.float32)
    yield first, -1.0
    nearest[first] = np.inf
    _bring_up_to_date(points, nearest, [first], device)
    while np.isfinite(least := nearest.min()):
        outside = np.partition(nearest, LOOKED_AT)[LOOKED_AT] if len(nearest) > LOOKED_AT else np.inf
        # Of equally far ones the first is next: where they do not all fit, it is taken alone.
        looked_at = np.flatnonzero(nearest < outside) if least < outside else np.array([nearest.argmin()])
        among = _cosines(points[looked_at], points[looked_at], device)
        mine = nearest[looked_at]
        chosen: list[int] = []
        while (cosine := mine.min()) < outside or not chosen:
            place = int(mine.argmin())
            yield int(looked_at[place]), float(cosine)
            chosen.append(int(looked_at[place]))
            mine = np.maximum(mine, among[place])
            mine[place] = np.inf
            if not np.isfinite(mine.min()):
                break
        _bring_up_to_date(points, nearest, chosen, device)


def _bring_up_to_date(points: np.ndarray, nearest: np.ndarray, chosen: list[int], device: str) -> None:
    nearest[chosen] = np.inf
    new = points[chosen]
    rows = max(1, BLOCK_BYTES // (4 * (points.shape[1] + len(chosen))))
    for start in range(0, len(points), rows):
        block = nearest[start : start + rows]
        np.maximum(block, _cosines(points[start : start + rows], new, device).max(axis=1), out=block)


def _cosines(one: np.ndarray, other: np.ndarray, device: str) -> np.ndarray:
    """[rows of one, rows of the other]; stored halves are multiplied as floats."""
    left, right = (torch.from_numpy(np.array(side, np.float32)).to(device) for side in (one, other))
    return np.asarray((left @ right.T).cpu().numpy())
