"""From a strategy's ranking to the rows that are trained on, for every seed of an arm."""

from collections.abc import Callable
from functools import cache, partial

import pandas as pd
import polars as pl

from pipelines.influence.nodes import read_scores
from winnow.errors import BadSetting
from winnow.params import ArmParams, BudgetParams, ClustersParams, InfluenceParams, SelectionParams
from winnow.records.tokens import TokenTable
from winnow.selection import (
    rank_all,
    rank_at_random,
    rank_by_clusters,
    rank_by_influence,
    rank_by_shares,
    rank_by_validation_length,
    repeats_of_chosen,
    take,
)
from winnow.stages import Finished, FinishedParts

WEIGHT = "weight/"


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


def weigh_less(target: str) -> Callable[..., pd.DataFrame]:
    """A node function that ranks by gradient influence on this target, or on all in turn; the same for each seed."""

    def weigh_by_influence(
        tokens: Finished, scores: FinishedParts, settings: InfluenceParams, arm: ArmParams
    ) -> pd.DataFrame:
        # A selector with a tokenizer of its own may have scored rows that the target's tokenizer cannot use.
        usable = tokens.scan("lengths").filter(pl.col("split") == "train").select("example_id").collect()
        ranking = rank_by_influence(read_scores(scores).join(usable, on="example_id"), settings.aggregate, target)
        return _per_seed(arm, lambda _: ranking)

    return weigh_by_influence


def weigh_mixture(strategy: str) -> Callable[..., pd.DataFrame]:
    """A node function that ranks first the mixture which this strategy chose, drawn anew for each seed."""

    def weigh_by_mixture(
        tokens: Finished, matrix: Finished, mixtures: Finished, budget: BudgetParams, arm: ArmParams
    ) -> pd.DataFrame:
        pool, clusters = _lengths(tokens, "train"), matrix.scan("groups").collect().to_pandas()
        chosen = mixtures.scan("choices").filter(pl.col("strategy") == strategy).collect().to_dicts()
        if not chosen:
            raise BadSetting(
                f"No mixture was chosen by {strategy!r}; there are: "
                f"{', '.join(mixtures.scan('choices').collect()['strategy'])}."
            )
        shares = {name.removeprefix(WEIGHT): share for name, share in chosen[0].items() if name.startswith(WEIGHT)}
        return _per_seed(arm, lambda seed: rank_by_shares(pool, clusters, shares, budget, seed))

    return weigh_by_mixture


def mix_at_budget(
    weights: pd.DataFrame, tokens: Finished, budget: BudgetParams, selection: SelectionParams
) -> pd.DataFrame:
    """Take the best rows that fit the common budget."""
    return _mix(weights, tokens, budget, selection)


def mix_everything(weights: pd.DataFrame, tokens: Finished) -> pd.DataFrame:
    """Take the whole ranking."""
    return _mix(weights, tokens, None, SelectionParams())


def _mix(
    weights: pd.DataFrame, tokens: Finished, budget: BudgetParams | None, selection: SelectionParams
) -> pd.DataFrame:
    pool, rows = _lengths(tokens, "train"), cache(partial(TokenTable.open, tokens.path, "train"))
    mixes = {
        seed: take(ranking, pool, budget, repeats_of_chosen(rows, selection))
        for seed, ranking in weights.groupby("seed")
    }
    return pd.concat([mix.assign(seed=seed) for seed, mix in mixes.items()], ignore_index=True)


def _per_seed(arm: ArmParams, rank: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([rank(seed).assign(seed=seed) for seed in range(arm.seeds)], ignore_index=True)


def _lengths(tokens: Finished, split: str) -> pd.DataFrame:
    lengths = tokens.scan("lengths").collect().to_pandas()
    return lengths[lengths["split"] == split].reset_index(drop=True)
