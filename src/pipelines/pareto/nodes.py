"""Mixtures of clusters by every strategy, and the Pareto front between them."""

from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from winnow.params import BudgetParams, Machine, ParetoParams
from winnow.progress import News, publish
from winnow.report.pareto import draw_mixtures
from winnow.stages import Finished, Work, filled, locate, table_fingerprint

REVISION = 1


def find_mixtures(
    matrix: Finished, tokens: Finished, params: ParetoParams, budget: BudgetParams, machine: Machine
) -> Finished:
    """One mixture per strategy, and the front; sealed with the front's share of the exact optimum."""
    return _find(matrix, matrix.scan("cells").collect(), tokens, params, budget, machine)


def change_mixture(
    training_mix: pd.DataFrame,
    matrix: Finished,
    tokens: Finished,
    params: ParetoParams,
    budget: BudgetParams,
    machine: Machine,
) -> Finished:
    """The same, where clusters have as many rows as in an earlier mix (of its first seed), and one at least."""
    mix = pl.from_pandas(training_mix[training_mix["seed"] == training_mix["seed"].min()])
    members = mix.select("example_id", "multiplicity").join(matrix.scan("groups").collect(), on="example_id")
    sizes = members.group_by("cluster").agg(rows=pl.col("multiplicity").sum())
    cells = matrix.scan("cells").drop("rows").collect().join(sizes, on="cluster", how="left", maintain_order="left")
    cells = cells.with_columns(pl.col("rows").fill_null(0).clip(1))
    return _find(matrix, cells, tokens, params, budget, machine)


def _find(
    matrix: Finished,
    cells: pl.DataFrame,
    tokens: Finished,
    params: ParetoParams,
    budget: BudgetParams,
    machine: Machine,
) -> Finished:
    rows = _rows(tokens, budget) if params.mode == "share" else None
    settings = {**params.model_dump(mode="json"), "rows": rows}
    root = machine.data_root / "03_primary"
    inputs = {"influence_matrix": matrix.fingerprint, "cells": table_fingerprint(cells.iter_rows())}
    place = locate(root, "pareto", REVISION, settings, inputs)

    def fill(work: Work) -> dict[str, Any]:
        tables, summary = _search(cells, params, rows or 0)
        return {"tables": work.commit_tables(tables), **summary}

    return filled(place, fill)


def show_mixtures(mixtures: Finished) -> tuple[pd.DataFrame, pd.DataFrame, Figure, dict[str, float]]:
    """Choices and front as tables and as a figure; how close the front comes to the exact optimum."""
    choices, front = mixtures.scan("choices").collect(), mixtures.scan("front").collect()
    figure = draw_mixtures(choices, front)
    return choices.to_pandas(), front.to_pandas(), figure, mixtures.summary["quality"]


def _search(cells: pl.DataFrame, params: ParetoParams, rows: float) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    # Registration imports this module, and needs none of these.
    from winnow.pareto.front import choose_from, find_front, share_of_optimum
    from winnow.pareto.strategies import BEST, STRATEGIES
    from winnow.pareto.tables import choice_table, front_table, make_problem

    problem = make_problem(cells, params, rows)
    total = params.generations
    front = find_front(
        problem,
        params.population,
        total,
        params.algorithm,
        params.seed,
        lambda done: publish(News("pareto", done=done, total=total, unit="generations")),
    )
    names = [*STRATEGIES, *(BEST + domain for domain in problem.domains), "random_beta"]
    choices = [choose_from(front, problem, name, params.importance, params.seed) for name in names]
    tables = {"choices": choice_table(problem, choices), "front": front_table(problem, front)}
    quality: dict[str, float] = {"pareto/front": tables["front"].height}
    if not problem.diminishing:
        quality["pareto/share_of_optimum"], quality["pareto/share_of_optimum_worst"] = share_of_optimum(front, problem)
    return tables, {"quality": quality}


def _rows(tokens: Finished, budget: BudgetParams) -> float:
    """About how many rows a mixture at this budget has."""
    lengths = tokens.scan("lengths").filter(pl.col("split") == "train")
    count, length = lengths.select(pl.len(), pl.col("n_tokens").mean()).collect().row(0)
    if budget.tokens is not None:
        return min(count, budget.tokens / length)
    return min(count, budget.rows) if budget.rows is not None else max(1.0, budget.share * count)
