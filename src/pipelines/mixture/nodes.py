"""From a strategy's ranking to the rows that are trained on, for every seed of an arm."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pandas as pd
import polars as pl

from pipelines.influence.nodes import read_scores
from winnow.errors import BadSetting
from winnow.moe.files import read_pooled
from winnow.params import (
    ArmParams,
    BudgetParams,
    ClustersParams,
    InfluenceParams,
    IngestParams,
    Machine,
    SelectionParams,
    SelectMoeParams,
)
from winnow.records.dataset_info import with_dataset_info
from winnow.records.tokens import TokenTable
from winnow.records.tree import write_repeated
from winnow.selection import (
    rank_all,
    rank_at_random,
    rank_by_clusters,
    rank_by_distance,
    rank_by_diverse_quality,
    rank_by_ifd,
    rank_by_influence,
    rank_by_perplexity,
    rank_by_quality,
    rank_by_shares,
    rank_by_validation_length,
    repeats_of_chosen,
    take,
)
from winnow.stages import Finished, FinishedParts, Work, filled, locate, table_fingerprint

REVISION = 1


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


def weigh_nearest(scores: Finished, arm: ArmParams) -> pd.DataFrame:
    """Rank by the best score for any row of a target, targets in turn (RDS+, BM25); the same for each seed."""
    ranking = rank_by_influence(scores.scan("scores").collect(), "max")
    return _per_seed(arm, lambda _: ranking)


def weigh_perplexity(which: str) -> Callable[..., pd.DataFrame]:
    """A node function that ranks by perplexity from this end, or from the middle; the same for each seed."""

    def weigh_by_perplexity(scores: Finished, arm: ArmParams) -> pd.DataFrame:
        ranking = rank_by_perplexity(scores.scan("row_scores").collect(), which)
        return _per_seed(arm, lambda _: ranking)

    return weigh_by_perplexity


def weigh_ifd(scores: Finished, arm: ArmParams) -> pd.DataFrame:
    """Rank by instruction-following difficulty; the same for each seed."""
    ranking = rank_by_ifd(scores.scan("row_scores").collect())
    return _per_seed(arm, lambda _: ranking)


def weigh_distance(tokens: Finished, orders: FinishedParts, arm: ArmParams) -> pd.DataFrame:
    """Rank first what k-center greedy took, beginning with another row for each seed."""
    pool = _lengths(tokens, "train")
    return _per_seed(arm, lambda seed: rank_by_distance(pool, orders.parts[str(seed)].scan().collect(), seed))


def weigh_select_moe(choice: str) -> Callable[..., pd.DataFrame]:
    """A node function that ranks by a selector's quality, the best first or in turn from groups that are alike."""

    def weigh_by_quality(
        tokens: Finished, quality: Finished, settings: SelectMoeParams, arm: ArmParams
    ) -> pd.DataFrame:
        usable = tokens.scan("lengths").filter(pl.col("split") == "train").select("example_id").collect()
        table = quality.scan("quality").with_row_index("place").collect()
        table = table.join(usable, on="example_id", maintain_order="left")
        if choice == "top":
            ranking = rank_by_quality(table)
        else:
            pooled = read_pooled(quality.path)[table["place"].to_numpy()]
            ranking = rank_by_diverse_quality(table, pooled, settings.score.clusters, settings.score.seed)
        return _per_seed(arm, lambda _: ranking)

    return weigh_by_quality


def weigh_mixture(strategy: str) -> Callable[..., pd.DataFrame]:
    """A node function that ranks first the mixture which this strategy chose, drawn anew for each seed."""

    def weigh_by_mixture(
        tokens: Finished, matrix: Finished, mixtures: Finished, budget: BudgetParams, arm: ArmParams
    ) -> pd.DataFrame:
        rank = _ranked_by(strategy, tokens, matrix, mixtures)
        return _per_seed(arm, lambda seed: rank(budget, seed))

    return weigh_by_mixture


def weigh_full_mixture(strategy: str) -> Callable[..., pd.DataFrame]:
    """A node function that draws the mixture which this strategy chose, as large as the pool, anew for each seed."""

    def weigh_by_full_mixture(tokens: Finished, matrix: Finished, mixtures: Finished, arm: ArmParams) -> pd.DataFrame:
        rank = _ranked_by(strategy, tokens, matrix, mixtures)
        rows = matrix.scan("groups").select(pl.len()).collect().item()
        return _per_seed(arm, lambda seed: rank(BudgetParams(share=1.0), seed).head(rows))

    return weigh_by_full_mixture


def _ranked_by(
    strategy: str, tokens: Finished, matrix: Finished, mixtures: Finished
) -> Callable[[BudgetParams, int], pd.DataFrame]:
    pool, clusters = _lengths(tokens, "train"), matrix.scan("groups").collect().to_pandas()
    shares = _parts(_chosen(mixtures, strategy), "weight/")
    return lambda budget, seed: rank_by_shares(pool, clusters, shares, budget, seed)


def tell_mixture(strategy: str) -> Callable[..., dict[str, float]]:
    """A node function that tells the tracker what this strategy's mixture is predicted to gain, and what it changes."""

    def tell(mixtures: Finished) -> dict[str, float]:
        chosen = _chosen(mixtures, strategy)
        gains = {f"pareto/predicted_gain/{domain}": gain for domain, gain in _parts(chosen, "gain/").items()}
        return gains | {f"mixture/beta/{cluster}": beta for cluster, beta in _parts(chosen, "beta/").items()}

    return tell


def write_reweighted(
    training_mix: pd.DataFrame,
    train: Finished,
    raw_examples: Finished,
    matrix: Finished,
    ingest: IngestParams,
    machine: Machine,
) -> tuple[Finished, pd.DataFrame]:
    """The mix of the first seed as `reweighted_data/` in the raw folders and formats, with its manifest; and a summary.

    The summary has the rows of each cluster and each subset, before and after.
    """
    mix = pl.from_pandas(training_mix[training_mix["seed"] == training_mix["seed"].min()])
    mix = mix.select("example_id", "multiplicity").sort("example_id")
    rows = train.scan().select("example_id", "subset", "file", "row").collect()
    rows = rows.join(mix, on="example_id", how="left").with_columns(pl.col("multiplicity").fill_null(0))
    summary = _before_and_after(rows.join(matrix.scan("groups").collect(), on="example_id", how="left"))
    inputs = {"train": train.fingerprint, "raw_examples": raw_examples.fingerprint}
    inputs["training_mix"] = table_fingerprint(mix.iter_rows())
    place = locate(machine.data_root / "03_primary", "reweighted_data", REVISION, {}, inputs)

    def fill(work: Work) -> dict[str, Any]:
        work.commit("manifest.parquet", mix.write_parquet)
        raw = machine.data_root / raw_examples.summary["folder"]
        described = with_dataset_info(raw, ingest)
        write_repeated(raw, rows.rename({"multiplicity": "times"}), described, work.path / "reweighted_data")
        entry = {"file": "manifest.parquet", "rows": mix.height, "fingerprint": inputs["training_mix"]}
        return {"tables": {"manifest": entry}, "rows": int(mix["multiplicity"].sum())}

    return filled(place, fill), summary


def _before_and_after(rows: pl.DataFrame) -> pd.DataFrame:
    tables = [
        rows.group_by(pl.col(kind).alias("name"))
        .agg(before=pl.len(), after=pl.col("multiplicity").sum())
        .with_columns(kind=pl.lit(kind), share_before=pl.col("before") / rows.height)
        .with_columns(share_after=pl.col("after") / rows["multiplicity"].sum())
        for kind in ("cluster", "subset")
    ]
    columns = ["kind", "name", "before", "after", "share_before", "share_after"]
    return pl.concat(table.select(columns).sort("name", nulls_last=True) for table in tables).to_pandas()


def _chosen(mixtures: Finished, strategy: str) -> dict[str, Any]:
    """The row of this strategy."""
    choices = mixtures.scan("choices").collect()
    found = choices.filter(pl.col("strategy") == strategy).to_dicts()
    if not found:
        raise BadSetting(f"No mixture was chosen by {strategy!r}; there are: {', '.join(choices['strategy'])}.")
    return found[0]


def _parts(chosen: dict[str, Any], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in chosen.items() if name.startswith(prefix)}


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
