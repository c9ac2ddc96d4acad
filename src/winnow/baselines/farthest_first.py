"""k-center greedy: the next row is the one whose nearest chosen row is farthest away (Gonzalez, 1985).

For coreset selection: https://arxiv.org/abs/1708.00489. Done plainly, each choice is a pass over all rows. Here the
rows that are farthest away are looked at together: their distances among each other say who comes next, as long as that
one is still farther away than every row that is not among them, because distances to the chosen only shrink. Then one
product of matrices brings all rows up to date. The order is the plain one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

LOOKED_AT = 1024
BLOCK_BYTES = 64 << 20


@dataclass
class Order:
    """Rows in the order in which they were taken, each with its cosine to the nearest of those before it.

    ``nearest`` is each row's cosine with the nearest of the first ``known`` rows taken, and infinite for these.
    """

    places: np.ndarray
    cosines: np.ndarray
    nearest: np.ndarray
    known: int = 0

    @classmethod
    def begun(cls, first: int, rows: int) -> "Order":
        """The row ``first`` alone; it has none before it, and the cosine -1."""
        return cls(np.array([first]), np.array([-1], np.float32), np.full(rows, -np.inf, np.float32))

    def take_more(self, points: np.ndarray, device: str) -> bool:
        """Compare all rows with those taken last, and take those that are next for certain; whether there are any."""
        if self.known < len(self.places):
            _bring_up_to_date(points, self.nearest, self.places[self.known :], device)
            self.known = len(self.places)
        nearest = self.nearest
        if not np.isfinite(least := nearest.min()):
            return False
        outside = np.partition(nearest, LOOKED_AT)[LOOKED_AT] if len(nearest) > LOOKED_AT else np.inf
        # Of equally far ones the first is next: where they do not all fit, it is taken alone.
        looked_at = np.flatnonzero(nearest < outside) if least < outside else np.array([nearest.argmin()])
        among = _cosines(points[looked_at], points[looked_at], device)
        mine = nearest[looked_at]
        chosen: list[int] = []
        cosines: list[float] = []
        while np.isfinite(cosine := mine.min()) and (cosine < outside or not chosen):
            place = int(mine.argmin())
            chosen.append(place)
            cosines.append(cosine)
            mine = np.maximum(mine, among[place])
            mine[place] = np.inf
        self.places = np.concatenate([self.places, looked_at[chosen]])
        self.cosines = np.concatenate([self.cosines, np.array(cosines, np.float32)])
        return True


def farthest_first(points: np.ndarray, first: int, device: str = "cpu") -> Iterator[tuple[int, float]]:
    """All places of ``points`` [rows, hidden], unit vectors in memory or on disk, with their cosine to those before.

    The cosine is that with the nearest row chosen before, and -1 of the ``first``; equal ones come by their places.
    """
    order, told, more = Order.begun(first, len(points)), 0, True
    while more:
        yield from zip(order.places[told:].tolist(), order.cosines[told:].tolist(), strict=True)
        told = len(order.places)
        more = order.take_more(points, device)


def _bring_up_to_date(points: np.ndarray, nearest: np.ndarray, chosen: np.ndarray, device: str) -> None:
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
