"""Models of random subsets of rows, and how well each estimator of influence predicts their losses."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.evaluate.nodes import forced, score_models
from pipelines.finetune.nodes import train_mixes
from pipelines.influence.nodes import read_scores
from pipelines.targets.nodes import domains_of
from winnow.influence.ranking import Aggregate, target_scores
from winnow.params import DatamodelsParams, EvaluateParams, FinetuneParams, InfluenceParams, Machine, TokenizeParams
from winnow.stages import Finished, FinishedParts, Work, filled, locate

REVISION = 1


def train_subsets(
    tokens: Finished,
    base_model: Finished,
    targets: Finished,
    finetune: FinetuneParams,
    evaluate: EvaluateParams,
    tokenize: TokenizeParams,
    params: DatamodelsParams,
    machine: Machine,
) -> Finished:
    """The losses on the targets of a model for each subset and seed; a kill costs one model."""
    # Registration imports this module, and needs no scipy.
    from winnow.verification.datamodels import draw_subsets

    usable = tokens.scan("lengths").filter(pl.col("split") == "train").collect()["example_id"].to_list()
    subsets = draw_subsets(usable, params)
    runs = {f"{subset}@{seed}": (subset, seed) for subset in range(len(subsets)) for seed in range(params.seeds)}
    by_subset = [dict.fromkeys(subset, 1) for subset in subsets]
    mixes = {name: by_subset[subset] for name, (subset, _) in runs.items()}
    seeds = {name: seed for name, (_, seed) in runs.items()}
    models = train_mixes(mixes, seeds, tokens, base_model, finetune.alone(params.steps), machine)
    scored = score_models(models, targets, base_model, forced(evaluate), tokenize, machine)
    place = locate(
        machine.data_root / "03_primary",
        "subset_losses",
        REVISION,
        {},
        {name: part.fingerprint for name, part in scored.items()} | {"targets": targets.fingerprint},
    )

    def fill(work: Work) -> dict[str, Any]:
        domains = domains_of(targets)
        losses = pl.concat(_losses_of(scored[name], *run, domains) for name, run in runs.items())
        return {"tables": work.commit_tables({"losses": losses, "members": _members_of(subsets)})}

    return filled(place, fill)


def _members_of(subsets: list[list[str]]) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame({"example_id": subset}).select(pl.lit(number).alias("subset"), "example_id")
        for number, subset in enumerate(subsets)
    )


def _losses_of(part: Finished, subset: int, seed: int, domains: dict[str, str]) -> pl.DataFrame:
    domain = pl.col("example_id").replace_strict(domains).alias("domain")
    own = (pl.lit(subset).alias("subset"), pl.lit(seed).alias("seed"))
    return part.scan("rows").select(*own, "example_id", domain, "loss").collect()


def score_estimators(names: Sequence[str]) -> Callable[..., tuple[pd.DataFrame, Figure, dict[str, float]]]:
    """A node function that holds these estimators' scores, given in this order, to the models of subsets."""

    def score(
        subset_losses: Finished, params: DatamodelsParams, influence: InfluenceParams, *tables: Finished | FinishedParts
    ) -> tuple[pd.DataFrame, Figure, dict[str, float]]:
        # Registration imports this module, and needs no scipy.
        from winnow.report.datamodels import draw_datamodels
        from winnow.verification.datamodels import datamodel_metrics, read_trained, score_estimators

        trained = read_trained(subset_losses.scan("members").collect(), subset_losses.scan("losses").collect())
        readers = {**_READERS, "less": partial(_cosines, influence.aggregate)}
        scores = {name: readers[name](table, trained.domains) for name, table in zip(names, tables, strict=True)}
        found = score_estimators(scores, trained, params)
        return found.to_pandas(), draw_datamodels(found), datamodel_metrics(found)

    return score


def _products(products: FinishedParts, _: list[str]) -> pl.DataFrame:
    return read_scores(products)


def _cosines(aggregate: Aggregate, scores: FinishedParts, _: list[str]) -> pl.DataFrame:
    return _by_target(read_scores(scores), aggregate)


def _nearness(scores: Finished, _: list[str]) -> pl.DataFrame:
    return _by_target(scores.scan("scores").collect(), "max")


def _likelihood(row_scores: Finished, domains: list[str]) -> pl.DataFrame:
    """A row that the base model finds likely is taken to help, whatever the domain."""
    return (
        row_scores.scan("row_scores")
        .select("example_id", *((-pl.col("loss")).alias(name) for name in domains))
        .collect()
    )


def _by_target(table: pl.DataFrame, aggregate: Aggregate) -> pl.DataFrame:
    return pl.DataFrame({"example_id": table["example_id"], **target_scores(table, aggregate)})


_READERS: dict[str, Callable[[Any, list[str]], pl.DataFrame]] = {
    "gradient": _products,
    "ekfac": _products,
    "loss": _likelihood,
    "bm25": _nearness,
    "rds": _nearness,
}
