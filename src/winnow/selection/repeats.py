"""Rows that repeat one already chosen: two copies of a row both score high, and the second teaches nothing.

`near` compares sets of five-token runs. Rows whose sets may be alike are found by MinHash signatures cut into bands
(two rows that share 80 % of their runs meet in a band in all but 2 of 10,000 cases); then the sets themselves decide.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from winnow.params import SelectionParams
from winnow.records.tokens import TokenTable

RUN = 5
BANDS, PER_BAND = 16, 4
IsRepeat = Callable[[str], bool]


def repeats_of_chosen(open_tokens: Callable[[], TokenTable], params: SelectionParams) -> IsRepeat | None:
    """A function that says whether a row repeats one it was asked for before; None where repeats are welcome."""
    if params.deduplicate == "none":
        return None
    return _Exact(open_tokens()) if params.deduplicate == "exact" else _Near(open_tokens(), params.similarity)


class _Exact:
    """Equal token for token."""

    def __init__(self, tokens: TokenTable) -> None:
        self.tokens = tokens
        self.seen: set[bytes] = set()

    def __call__(self, example_id: str) -> bool:
        (row,) = self.tokens.rows([example_id])
        content = hashlib.blake2b(row.input_ids.tobytes(), digest_size=16).digest()
        if content in self.seen:
            return True
        self.seen.add(content)
        return False


class _Near:
    """Most runs of five tokens are the same."""

    def __init__(self, tokens: TokenTable, similarity: float) -> None:
        self.tokens = tokens
        self.similarity = similarity
        random = np.random.default_rng(0)
        self.factors = random.integers(1, 1 << 63, BANDS * PER_BAND, dtype=np.uint64) | np.uint64(1)
        self.runs: list[np.ndarray] = []
        self.bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)

    def __call__(self, example_id: str) -> bool:
        (row,) = self.tokens.rows([example_id])
        runs = runs_of(row.input_ids)
        # The upper bits of a product are as good as a random order of the runs.
        least = ((runs[:, None] * self.factors) >> np.uint64(20)).min(axis=0).reshape(BANDS, PER_BAND)
        keys = [(band, least[band].tobytes()) for band in range(BANDS)]
        for other in {number for key in keys for number in self.bands.get(key, ())}:
            common = len(np.intersect1d(runs, self.runs[other], assume_unique=True))
            if common >= self.similarity * (len(runs) + len(self.runs[other]) - common):
                return True
        for key in keys:
            self.bands[key].append(len(self.runs))
        self.runs.append(runs)
        return False


def runs_of(ids: np.ndarray) -> np.ndarray:
    """Hashes of the different runs of five tokens; a shorter row is one run."""
    return np.unique(run_hashes(ids, min(RUN, len(ids))))


def run_hashes(ids: np.ndarray, width: int) -> np.ndarray:
    """A hash of each run of ``width`` ids, in their order."""
    ids = ids.astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(len(ids) - width + 1, np.uint64)
    for place in range(width):
        hashes = (hashes ^ ids[place : len(ids) - width + 1 + place]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes
