"""From a strategy's ranking to the rows that are trained on, for every seed of an arm."""

from collections.abc import Callable

import pandas as pd

from winnow.params import ArmParams, BudgetParams, ClustersParams
from winnow.selection import rank_all, rank_at_random, rank_by_clusters, rank_by_validation_length, take
from winnow.stages import Finished


def weigh_all(tokens: Finished, arm: ArmParams) -> pd.DataFrame:
    """Rank the whole pool; seeds differ in the order of training alone."""
    pool = _lengths(tokens, "train")
    return _per_seed(arm, lambda _: rank_all(pool))


def weigh_random(tokens: Finished, arm: ArmParams) -> pd.DataFrame:
    """Rank the pool at random, anew for each seed."""
    pool = _lengths(tokens, "train")
    return _per_seed(arm, lambda seed: rank_at_random(pool, seed))


def weigh_length(tokens: Finished, arm: ArmParams) -> pd.DataFrame:
    """Rank the pool at random, matched to the validation set's lengths."""
    pool, validation = _lengths(tokens, "train"), _lengths(tokens, "validation")
    return _per_seed(arm, lambda seed: rank_by_validation_length(pool, validation, seed))


def weigh_s2l(
    tokens: Finished, clusters: Finished, settings: ClustersParams, budget: BudgetParams, arm: ArmParams
) -> pd.DataFrame:
    """Rank first what S2L draws from the clusters of loss trajectories, anew for each seed."""
    pool, found = _lengths(tokens, "train"), clusters.scan("clusters").collect().to_pandas()
    return _per_seed(arm, lambda seed: rank_by_clusters(pool, found, budget, settings.s2l, seed))


def mix_at_budget(weights: pd.DataFrame, tokens: Finished, budget: BudgetParams) -> pd.DataFrame:
    """Take the best rows that fit the common budget."""
    return _mix(weights, _lengths(tokens, "train"), budget)


def mix_everything(weights: pd.DataFrame, tokens: Finished) -> pd.DataFrame:
    """Take the whole ranking."""
    return _mix(weights, _lengths(tokens, "train"), None)


def _mix(weights: pd.DataFrame, pool: pd.DataFrame, budget: BudgetParams | None) -> pd.DataFrame:
    mixes = {seed: take(ranking, pool, budget) for seed, ranking in weights.groupby("seed")}
    return pd.concat([mix.assign(seed=seed) for seed, mix in mixes.items()], ignore_index=True)


def _per_seed(arm: ArmParams, rank: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([rank(seed).assign(seed=seed) for seed in range(arm.seeds)], ignore_index=True)


def _lengths(tokens: Finished, split: str) -> pd.DataFrame:
    lengths = tokens.scan("lengths").collect().to_pandas()
    return lengths[lengths["split"] == split].reset_index(drop=True)
