"""Cosines of stored rows with queries: mean unit validation gradients of subtasks, or single validation rows.

A store is read block by block, each row once; it may be larger than memory. The mean of a row's cosines with the
validation rows of a subtask is its dot product with the mean of their unit features, so few queries serve any number.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from winnow.gradients.quantize import BITS
from winnow.gradients.store import FeatureStore, Shard
from winnow.influence.kernels import DOTS, PLANES, count_common


class Queries:
    """Queries [s, dim], prepared for the rows of one kind of store."""

    def __init__(self, queries: np.ndarray, kind: str) -> None:
        self.kind = kind
        self.queries = np.ascontiguousarray(queries, np.float32)
        self.count, self.dim = self.queries.shape
        self.bits = BITS.get(kind, 8)
        if self.bits < 8:
            self._make_planes()
        elif self.count % 2:
            self.queries = np.concatenate([self.queries, np.zeros((1, self.dim), np.float32)])

    def cosines(self, shard: Shard) -> np.ndarray:
        """Cosines [rows, s] of a shard's rows; a row without direction has none, and NaN stays NaN."""
        dots = self._packed(shard.codes) if self.bits < 8 else self._plain(shard.codes)
        factor = np.divide(shard.scale, shard.norm, out=np.zeros_like(shard.norm), where=shard.norm != 0)
        return dots[:, : self.count] * factor[:, None]

    def _plain(self, codes: np.ndarray) -> np.ndarray:
        out = np.empty((len(codes), len(self.queries)), np.float32)
        numbers = codes.view(np.uint16) if self.kind == "float16" else codes
        DOTS[self.kind](numbers, self.queries, out)
        return out

    def _make_planes(self) -> None:
        """Each query as whole numbers of `PLANES` bits times a step, less an offset; one plane of bits for each."""
        low, high = self.queries.min(axis=1), self.queries.max(axis=1)
        self._step = np.maximum((high - low) / ((1 << PLANES) - 1), np.finfo(np.float32).tiny)[:, None]
        self._low = low[:, None]
        numbers = np.rint((self.queries - self._low) / self._step).astype(np.uint16)
        self._total = (numbers * self._step + self._low).sum(axis=1, dtype=np.float64)
        places = np.arange(self.dim) * self.bits
        words = -(-self.dim * self.bits // 64)
        # One plane per bit of the query and bit of the code, and one of ones per bit of the code.
        planes = np.zeros((self.count * PLANES + 1, self.bits, words * 64), bool)
        for query in range(self.count):
            for plane in range(PLANES):
                for bit in range(self.bits):
                    planes[query * PLANES + plane, bit, places + bit] = (numbers[query] >> plane) & 1
        for bit in range(self.bits):
            planes[-1, bit, places + bit] = True
        flat = np.packbits(planes.reshape(-1, words * 64), axis=1, bitorder="little").view(np.uint64)
        self._planes = np.pad(flat, ((0, -len(flat) % 4), (0, 0)))

    def _packed(self, codes: np.ndarray) -> np.ndarray:
        """The sum of (2 c - top) v over the places, from counts of common bits."""
        width = self._planes.shape[1] * 8
        if codes.shape[1] % 8:
            codes = np.pad(codes, ((0, 0), (0, width - codes.shape[1])))
        common = np.empty((len(codes), len(self._planes)), np.uint64)
        count_common(np.ascontiguousarray(codes).view(np.uint64), self._planes, common)
        known = common[:, : (self.count * PLANES + 1) * self.bits].astype(np.float64)
        weighed = known.reshape(len(codes), -1, self.bits) @ (2.0 ** np.arange(self.bits))
        numbers = weighed[:, :-1].reshape(len(codes), self.count, PLANES) @ (2.0 ** np.arange(PLANES))
        with_codes = numbers * self._step[:, 0] + weighed[:, -1:] * self._low[:, 0]
        return (2 * with_codes - ((1 << self.bits) - 1) * self._total).astype(np.float32)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows of length one; a row of zeros stays."""
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, norm, out=np.zeros_like(features), where=norm != 0)


def mean_queries(unit: np.ndarray, groups: Sequence[str]) -> Mapping[str, np.ndarray]:
    """The mean unit feature of each group, in the order in which groups first appear."""
    names = np.asarray(groups)
    means = {name: unit[names == name].mean(axis=0, dtype=np.float64) for name in dict.fromkeys(groups)}
    return {name: mean.astype(np.float32) for name, mean in means.items()}


def score_store(store: FeatureStore, queries: np.ndarray) -> list[np.ndarray]:
    """Cosines of all rows, shard by shard [rows of the shard, s]."""
    prepared = Queries(queries, store.kind)
    return [prepared.cosines(shard) for shard in store.shards()]
