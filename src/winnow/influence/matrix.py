"""Influence of clusters on domains: the mean product of a domain's gradients with a cluster's features, and its error.

A product is linear in both of its vectors, so a cell needs no pair of rows: only the mean of each cluster for the
validation rows, and the mean of each domain for the training rows. Each store is read once.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from winnow.gradients.store import FeatureStore
from winnow.influence.scores import mean_queries, unit_rows

AVERAGE = "average"


class InfluenceMatrix:
    """Products summed over checkpoints: of each validation row with each cluster, of each example with each domain."""

    def __init__(self, clusters: Mapping[str, str], domains: Mapping[str, str], normalize: bool = True) -> None:
        """Take the cluster of each training example and the domain of each validation row.

        Normalised products are cosines.
        """
        self.normalize = normalize
        self.examples = pl.DataFrame({"example_id": sorted(clusters)})
        self.clusters = sorted(set(clusters.values()), key=natural)
        self.cluster = np.array([self.clusters.index(clusters[name]) for name in self.examples["example_id"]])
        self.sizes = np.bincount(self.cluster, minlength=len(self.clusters))
        self.validation = sorted(domains)
        self.domain = [domains[name] for name in self.validation]
        self.domains = sorted(set(self.domain))
        self.by_validation = np.zeros((len(self.validation), len(self.clusters)))
        self.by_example = np.zeros((self.examples.height, len(self.domains) + 1))

    def add(self, train: FeatureStore, targets: FeatureStore, weight: float) -> None:
        """Add a checkpoint."""
        _, features = targets.features(self.validation)
        features = unit_rows(features) if self.normalize else features
        means = mean_queries(features, self.domain)
        queries = np.stack([*(means[name] for name in self.domains), features.mean(axis=0)])
        table = self.examples.join(train.rows(), on="example_id", how="left", maintain_order="left")
        shard_of, row_of = table["shard"].to_numpy(), table["row"].to_numpy()
        sums = np.zeros((len(self.clusters), train.dim), np.float32)
        for number, shard in enumerate(train.shards()):
            here = np.flatnonzero(shard_of == number)
            rows = train.decoded(shard, row_of[here], unit=self.normalize)
            self.by_example[here] += weight * (rows @ queries.T)
            member = np.zeros((len(self.clusters), len(here)), np.float32)
            member[self.cluster[here], np.arange(len(here))] = 1
            sums += member @ rows
        self.by_validation += weight * (features @ (sums / self.sizes[:, None]).T)

    def cells(self) -> pl.DataFrame:
        """One row per domain and cluster: domain, cluster, rows, influence, error; `average` is all validation rows.

        The error is the standard error over validation rows and examples. Of a single row none is known: it is NaN.
        """
        found = []
        groups = {name: np.flatnonzero(np.array(self.domain) == name) for name in self.domains}
        groups[AVERAGE] = np.arange(len(self.validation))
        for column, (domain, places) in enumerate(groups.items()):
            cosines = self.by_validation[places]
            error = np.sqrt(_error(cosines) + self._error_of_examples(column))
            found.append(
                pl.DataFrame(
                    {
                        "domain": domain,
                        "cluster": self.clusters,
                        "rows": self.sizes,
                        "influence": cosines.mean(axis=0),
                        "error": error,
                    }
                )
            )
        return pl.concat(found)

    def groups(self) -> pl.DataFrame:
        """The cluster of each example that counted: example_id, cluster."""
        return self.examples.with_columns(cluster=pl.Series([self.clusters[number] for number in self.cluster]))

    def rows(self) -> pl.DataFrame:
        """The domain of each validation row: example_id, domain."""
        return pl.DataFrame({"example_id": self.validation, "domain": self.domain})

    def _error_of_examples(self, column: int) -> np.ndarray:
        """The squared standard error over the examples of each cluster."""
        return np.array(
            [_error(self.by_example[self.cluster == number, column]) for number in range(len(self.clusters))]
        )


def common_ids(stores: Sequence[FeatureStore]) -> set[str]:
    """Rows that have a feature at every checkpoint."""
    return set.intersection(*(set(store.rows()["example_id"]) for store in stores))


def as_matrix(cells: pl.DataFrame, value: str = "influence") -> tuple[list[str], list[str], np.ndarray]:
    """Domains without the average, clusters, and the values [domains, clusters]."""
    wide = cells.filter(pl.col("domain") != AVERAGE).pivot("cluster", index="domain", values=value)
    names = [name for name in wide.columns if name != "domain"]
    return wide["domain"].to_list(), names, wide.select(names).to_numpy()


def _error(values: np.ndarray) -> np.ndarray:
    """The squared standard error of the mean over the first axis."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return values.var(axis=0, ddof=1) / len(values)


def natural(name: str) -> tuple[str, int, str]:
    """A key to sort by: `math/2` before `math/10`."""
    head, _, last = name.rpartition("/")
    return head, int(last) if last.isdigit() else -1, last
