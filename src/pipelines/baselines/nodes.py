"""Scores without any training: likelihood under the base model, nearness to targets, words in common, distances."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.targets.nodes import labels_of
from winnow.influence.ranking import target_scores
from winnow.params import ArmParams, BaselinesParams, BudgetParams, Machine, TokenizeParams
from winnow.records.chat_template import template_text
from winnow.selection import rank_by_ifd, rank_by_influence, rank_by_perplexity
from winnow.stages import Finished, FinishedParts, Place, locate, require_build
from winnow.workers.launch import built, launch_missing

REVISION = 1


def score_rows(
    tokens: Finished, base_model: Finished, params: BaselinesParams, rendering: TokenizeParams, machine: Machine
) -> Finished:
    """The loss of each answer, with what was asked and alone, and the embedding of each row."""
    inputs = {"tokens": tokens.fingerprint, "base_model": base_model.fingerprint}
    task = {
        "params": params.model_dump(mode="json"),
        "tokens": str(tokens.path),
        "template": template_text(rendering.template),
        "base_model": str(base_model.path),
    }
    return built("row_scores", task, _place("row_scores", params.of_passes(), inputs, machine), machine)


def score_by_embeddings(
    row_scores: Finished,
    target_tokens: Finished,
    targets: Finished,
    base_model: Finished,
    params: BaselinesParams,
    machine: Machine,
) -> Finished:
    """RDS+: the cosine of each row with the nearest row of each subtask."""
    inputs = {
        "row_scores": row_scores.fingerprint,
        "target_tokens": target_tokens.fingerprint,
        "targets": targets.fingerprint,
    }
    task = {
        "params": params.model_dump(mode="json"),
        "row_scores": str(row_scores.path),
        "target_tokens": str(target_tokens.path),
        "base_model": str(base_model.path),
        "labels": labels_of(targets),
    }
    place = _place("rds_scores", params.of_passes(), inputs, machine)
    return built("rds_scores", task, place, machine.one_process())


def score_by_words(
    train: Finished, tokens: Finished, targets: Finished, params: BaselinesParams, machine: Machine
) -> Finished:
    """BM25: the words of each row for each row of each subtask, the best of them."""
    inputs = {"train": train.fingerprint, "tokens": tokens.fingerprint, "targets": targets.fingerprint}
    files = {"train": train, "targets": targets}
    task = {
        "params": params.model_dump(mode="json"),
        **{name: _file(table, table.table) for name, table in files.items()},
        "lengths": _file(tokens, "lengths"),
        "labels": labels_of(targets),
    }
    place = _place("bm25_scores", params.bm25.model_dump(mode="json"), inputs, machine)
    return built("bm25_scores", task, place, machine)


def order_by_distance(row_scores: Finished, budget: BudgetParams, arm: ArmParams, machine: Machine) -> FinishedParts:
    """k-center greedy over the embeddings, until the budget is full, from another first row for each seed."""
    inputs = {"row_scores": row_scores.fingerprint}
    settings = budget.model_dump(mode="json")
    places = {
        str(seed): _place("diverse_order", {**settings, "seed": seed}, inputs, machine) for seed in range(arm.seeds)
    }
    missing = {seed: place for seed, place in places.items() if place.finished() is None}
    if missing:
        require_build(list(missing.values()))
        task = {"row_scores": str(row_scores.path), "budget": settings}
        launch_missing("diverse_order", task, missing, machine.one_process())
    return FinishedParts({seed: Finished.open(place.folder) for seed, place in places.items()})


def show_row_scores(row_scores: Finished, train: Finished) -> tuple[Figure, pd.DataFrame]:
    """Perplexity and difficulty of each subset, and the rows at both ends."""
    from winnow.report.row_scores import draw_row_scores, ends_of

    table = row_scores.scan("row_scores").collect()
    subsets = train.scan().select("example_id", "subset").collect()
    with_subset = table.join(subsets, on="example_id", maintain_order="left")
    return draw_row_scores(with_subset, "subset"), ends_of(_by_likelihood(table), train.scan())


def separate_row_scores(row_scores: Finished, planted: Finished) -> tuple[Figure, pd.DataFrame, dict[str, float]]:
    """Perplexity and difficulty of each planted kind, and whether rankings by them tell kinds from clean rows."""
    from winnow.report.row_scores import draw_row_scores

    table = row_scores.scan("row_scores").collect()
    kinds = planted.scan().select("example_id", "kind").collect()
    figure = draw_row_scores(table.join(kinds, on="example_id", maintain_order="left"), "kind")
    return figure, *_separated(_by_likelihood(table), kinds)


def show_scores(scores: Finished, train: Finished) -> pd.DataFrame:
    """The best and the worst rows of each target, with their text."""
    from winnow.report.influence import extreme_examples

    table = scores.scan("scores").collect()
    return extreme_examples(table["example_id"], target_scores(table, "max"), train.scan())


def separate_scores(arm: str) -> Callable[..., tuple[pd.DataFrame, dict[str, float]]]:
    """A node function that tells whether the arm's ranking puts clean rows before planted ones."""

    def separate(scores: Finished, planted: Finished) -> tuple[pd.DataFrame, dict[str, float]]:
        ranking = rank_by_influence(scores.scan("scores").collect(), "max")
        return _separated({arm: ranking}, planted.scan().select("example_id", "kind").collect())

    return separate


def _separated(rankings: Mapping[str, pd.DataFrame], kinds: pl.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    from winnow.report.row_scores import separations

    found = separations(rankings, kinds)
    known = found.drop_nulls("auc").select("arm", "kind", "auc")
    return found.to_pandas(), {f"baselines/auc/{arm}/{kind}": auc for arm, kind, auc in known.iter_rows()}


def _by_likelihood(table: pl.DataFrame) -> dict[str, pd.DataFrame]:
    rankings = {f"perplexity_{which}": rank_by_perplexity(table, which) for which in ("low", "mid")}
    return {**rankings, "ifd": rank_by_ifd(table)}


def _place(stage: str, settings: Any, inputs: Mapping[str, str], machine: Machine) -> Place:
    return locate(machine.data_root / "03_primary", stage, REVISION, settings, inputs)


def _file(table: Finished, name: str | None) -> str:
    assert name is not None
    return str(table.path / table.summary["tables"][name]["file"])
