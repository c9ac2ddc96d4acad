"""Near-duplicates within selections."""

import numpy as np
import pytest

from winnow.verification.near_duplicates import best_first, near_duplicate_table
from winnow.verification.placed import Placed

POOL = ["a1", "a2", "b1", "c1"]


def placed(*orders: list[int], chosen: int) -> Placed:
    ranks = np.stack([np.argsort(order) for order in orders])
    return Placed(ranks, 2 * (ranks < chosen))


def test_the_rows_that_repeat_a_better_one_are_counted_once_for_each_different_selection():
    asked: list[list[str]] = []

    def begin():
        seen: list[str] = []
        asked.append(seen)

        def is_repeat(name: str) -> bool:
            seen.append(name)
            return any(name[0] == other[0] for other in seen[:-1])

        return is_repeat

    heard: list[tuple[int, int]] = []
    arms = {
        "same": placed([1, 0, 2, 3], [1, 0, 2, 3], chosen=3),
        "seeds": placed([0, 1, 2, 3], [2, 3, 0, 1], chosen=2),
    }
    table = near_duplicate_table(arms, POOL, begin, lambda done, total: heard.append((done, total)))
    assert asked == [["a2", "a1", "b1"], ["a1", "a2"], ["b1", "c1"]], "best first, each row once"
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert table["near_duplicates"].tolist() == pytest.approx([1 / 3, 1 / 4])
    assert np.isnan(table["near_duplicates_ci"][0])
    assert table["near_duplicates_ci"][1] > 0


def test_chosen_rows_come_by_their_rank():
    assert best_first(placed([3, 1, 0, 2], chosen=2), 0).tolist() == [3, 1]
