"""Okapi BM25 (Robertson and Zaragoza, 2009) of rows for whole conversations as queries.

A word in tf of a row's l words, of which rows have m in the mean, and in df of n rows, adds for each time it stands in
the query  idf tf (k1 + 1) / (tf + k1 (1 - b + b l / m))  with  idf = ln(1 + (n - df + 1/2) / (df + 1/2)), which is
positive for every word. The sum is divided by what no row can exceed, (k1 + 1) times the idf of all the query's words:
long queries would have the highest sums, and the best of several queries would always be for the longest.

Only words of queries are counted, so rows are counted block by block, and what is kept of them is small.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Counts:
    """How often each word of the vocabulary stands in each text [texts, words], and all words of each text [texts]."""

    times: sparse.csr_matrix
    lengths: np.ndarray

    @property
    def texts_with(self) -> np.ndarray:
        """In how many texts each word stands [words]."""
        return np.bincount(self.times.indices, minlength=self.times.shape[1])


def vocabulary(queries: Sequence[Sequence[str]]) -> dict[str, int]:
    """A place for each word of the queries."""
    return {word: place for place, word in enumerate(sorted({word for query in queries for word in query}))}


def count(texts: Sequence[Sequence[str]], places: Mapping[str, int]) -> Counts:
    """Count the words of ``texts`` that have a place."""
    times: list[int] = []
    columns: list[int] = []
    ends = [0]
    for text in texts:
        found = sorted((places[word], number) for word, number in Counter(text).items() if word in places)
        columns += [place for place, _ in found]
        times += [number for _, number in found]
        ends.append(len(columns))
    shape = (len(texts), len(places))
    parts = (np.array(times, np.float32), np.array(columns, np.int32), np.array(ends, np.int64))
    return Counts(sparse.csr_matrix(parts, shape=shape), np.array([len(text) for text in texts], np.int64))


class Bm25:
    """Queries, made ready for rows of a collection whose sizes are known."""

    def __init__(
        self, queries: Counts, texts: int, texts_with: np.ndarray, words: int, k1: float = 1.5, b: float = 0.75
    ) -> None:
        """``texts`` rows have ``words`` words in all; ``texts_with`` [words] of them have each word of the queries."""
        self.k1, self.b = k1, b
        self.mean_length = max(1.0, words / max(1, texts))
        self.idf = np.log1p((texts - texts_with + 0.5) / (texts_with + 0.5))
        largest = (k1 + 1) * (queries.times @ self.idf)
        share = np.divide(1.0, largest, out=np.zeros_like(largest), where=largest > 0)
        self.queries = sparse.csc_matrix(sparse.diags(share) @ queries.times).T

    def scores(self, rows: Counts) -> np.ndarray:
        """Scores [rows, queries] from 0 to 1, dense."""
        weights = rows.times.astype(np.float64)
        lengths = np.repeat(rows.lengths, np.diff(weights.indptr))
        slowing = self.k1 * (1 - self.b + self.b * lengths / self.mean_length)
        weights.data = self.idf[weights.indices] * weights.data * (self.k1 + 1) / (weights.data + slowing)
        return np.asarray((weights @ self.queries).toarray(), np.float64)
