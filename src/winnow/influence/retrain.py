"""Influence by retraining: the oracle that estimates are held to, for models that train in seconds.

A cluster of n rows of N gets extra copies, b of each row; by the first order its gain is b n / N times its influence.
All trainings have the same number of steps, so that every cluster's influence is lower by the same amount, by what its
extra rows take from all others: mixtures of a fixed size do not see such an amount.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from winnow.influence.matrix import AVERAGE, natural
from winnow.params import RetrainParams
from winnow.selection.shares import copies

# No group has this name: `read_groups` takes an empty one for none.
PLAIN = ""


def mixes_with_extra(
    clusters: Mapping[str, str], params: RetrainParams
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Mixes by `<cluster>@<seed>`, and `@<seed>` without extra weight; and the seed of each."""
    drawn = _drawn(sorted(clusters), params)
    plain = dict.fromkeys(drawn, 1)
    mixes, seeds = {}, {}
    for seed in range(params.seeds):
        name = f"{PLAIN}@{seed}"
        mixes[name], seeds[name] = plain, seed
    for number, cluster in enumerate(_names(clusters)):
        members = np.array([name for name in drawn if clusters[name] == cluster])
        if not len(members):
            continue
        for seed in range(params.seeds):
            extra = copies(np.arange(len(members)), _extra(len(members), params), np.random.default_rng([seed, number]))
            counts = 1 + np.bincount(extra, minlength=len(members))
            name = f"{cluster}@{seed}"
            mixes[name], seeds[name] = {**plain, **dict(zip(members.tolist(), counts.tolist(), strict=True))}, seed
    return mixes, seeds


def retrained_cells(
    losses: Mapping[str, pl.DataFrame],
    seeds: Mapping[str, int],
    clusters: Mapping[str, str],
    domains: Mapping[str, str],
    params: RetrainParams,
) -> pl.DataFrame:
    """Cells as those of the other estimators, in units of loss, from `example_id, loss` of each mix's model.

    The error is over seeds and validation rows, each compared with itself.
    """
    drawn = _drawn(sorted(clusters), params)
    names = sorted(domains)
    groups = {domain: [n for n, name in enumerate(names) if domains[name] == domain] for domain in _names(domains)}
    groups[AVERAGE] = list(range(len(names)))
    known = {name: _aligned(table, names) for name, table in losses.items()}
    found = []
    for domain, places in groups.items():
        for cluster in _names(clusters):
            size = sum(clusters[name] == cluster for name in drawn)
            if f"{cluster}@0" not in known:
                continue
            falls = np.stack([known[f"{PLAIN}@{s}"] - known[f"{cluster}@{s}"] for s in range(params.seeds)])[:, places]
            falls = falls[:, np.isfinite(falls).all(axis=0)] * len(drawn) / _extra(size, params)
            error = np.sqrt(_variance(falls.mean(axis=1)) + _variance(falls.mean(axis=0)))
            found.append((domain, cluster, size, falls.mean(), error))
    return pl.DataFrame(found, schema=["domain", "cluster", "rows", "influence", "error"], orient="row")


def _drawn(ids: list[str], params: RetrainParams) -> list[str]:
    if params.rows is None or params.rows >= len(ids):
        return ids
    return sorted(np.random.default_rng(0).permutation(ids)[: params.rows].tolist())


def _extra(size: int, params: RetrainParams) -> int:
    return max(1, round(params.extra * size))


def _names(groups: Mapping[str, str]) -> list[str]:
    return sorted(set(groups.values()), key=natural)


def _aligned(table: pl.DataFrame, names: list[str]) -> np.ndarray:
    wanted = pl.DataFrame({"example_id": names})
    return wanted.join(table, on="example_id", how="left", maintain_order="left")["loss"].to_numpy().astype(np.float64)


def _variance(means: np.ndarray) -> float:
    """Of the mean; of a single one none is known."""
    return float(means.var(ddof=1) / len(means)) if len(means) > 1 else float("nan")
