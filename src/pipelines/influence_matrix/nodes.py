"""The influence of clusters on domains, with a standard error for each cell."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.evaluate.nodes import forced, score_models
from pipelines.finetune.nodes import train_mixes
from pipelines.influence.nodes import stores_of, tokens_of
from winnow.errors import BadInput, MissingResource
from winnow.influence.groups import read_groups
from winnow.params import EvaluateParams, FinetuneParams, InfluenceParams, Machine, TokenizeParams
from winnow.stages import Finished, FinishedParts, Work, file_checksum, filled, locate
from winnow.workers.launch import built

REVISION = 3


def find_matrix(
    train_features: FinishedParts,
    target_features: FinishedParts,
    targets: Finished,
    groups: Finished,
    params: InfluenceParams,
    machine: Machine,
) -> Finished:
    """Mean products of domains' and clusters' features, from the stores, weighed by checkpoint.

    Of gradients they are cosines, unless they should have units of loss; whitened gradients have their own.
    """
    normalize = params.normalize and params.estimator == "gradient"
    weights = train_features.summary["weights" if normalize else "rates"]
    stores = stores_of(train_features, target_features, params)
    sides = {side: {step: pair[n] for step, pair in stores.items()} for n, side in enumerate(("train", "targets"))}
    table, source = _groups(groups, params.columns)
    domains, grouping = _domains(targets, params.rows)
    inputs = {f"{side}@{step}": part.fingerprint for side, parts in sides.items() for step, part in parts.items()}
    place = locate(
        machine.data_root / "03_primary",
        "influence_matrix",
        REVISION,
        {**_shape(params), "weights": weights, "normalize": normalize},
        {**inputs, "targets": targets.fingerprint, "groups": source, "domains": grouping},
    )
    task = {
        **{side: {step: str(part.path) for step, part in parts.items()} for side, parts in sides.items()},
        "weights": weights,
        "normalize": normalize,
        "groups": str(table),
        "by": params.columns,
        "domains": domains,
        "data": {"train": tokens_of(train_features), "targets": tokens_of(target_features)},
    }
    return built("influence_matrix", task, place, machine.one_process())


def retrain_matrix(
    tokens: Finished,
    base_model: Finished,
    targets: Finished,
    groups: Finished,
    finetune: FinetuneParams,
    evaluate: EvaluateParams,
    tokenize: TokenizeParams,
    params: InfluenceParams,
    machine: Machine,
) -> Finished:
    """The oracle: what models lose or gain when one cluster after the other has extra weight in their training."""
    # Registration imports this module, and needs no torch.
    from winnow.influence.retrain import mixes_with_extra, retrained_cells

    table, source = _groups(groups, params.columns)
    domains, grouping = _domains(targets, params.rows)
    usable = set(tokens.scan("lengths").filter(pl.col("split") == "train").collect()["example_id"])
    clusters = {name: group for name, group in read_groups(table, params.columns).items() if name in usable}
    mixes, seeds = mixes_with_extra(clusters, params.retrain)
    models = train_mixes(mixes, seeds, tokens, base_model, finetune, machine)
    scored = score_models(models, targets, base_model, forced(evaluate), tokenize, machine)
    place = locate(
        machine.data_root / "03_primary",
        "influence_matrix",
        REVISION,
        {**_shape(params), "retrain": params.retrain},
        {name: part.fingerprint for name, part in scored.items()}
        | {"targets": targets.fingerprint, "groups": source, "domains": grouping},
    )

    def fill(work: Work) -> dict[str, Any]:
        losses = {name: part.scan("rows").select("example_id", "loss").collect() for name, part in scored.items()}
        cells = retrained_cells(losses, seeds, clusters, domains, params.retrain)
        members = pl.DataFrame({"example_id": list(clusters), "cluster": list(clusters.values())}).sort("example_id")
        rows = pl.DataFrame({"example_id": list(domains), "domain": list(domains.values())}).sort("example_id")
        tables = work.commit_tables({"cells": cells, "groups": members, "rows": rows})
        return {"tables": tables, "left_out": 0}

    return filled(place, fill)


def show_matrix(
    matrix: Finished,
) -> tuple[dict[str, Figure], Figure, pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """All other figures by file name, the heatmap, the cells, the figures of merit, and those of the tracker."""
    # Registration imports this module, and needs neither torch nor scipy.
    from winnow.influence.figures_of_merit import analyse, analysis_metrics, analysis_table
    from winnow.report.influence_matrix import draw_analysis, draw_matrix

    cells = matrix.scan("cells").collect()
    found = analyse(cells, matrix.scan("groups").collect())
    table = analysis_table(found).to_pandas()
    return draw_analysis(found), draw_matrix(found.matrix), cells.to_pandas(), table, analysis_metrics(found)


def _shape(params: InfluenceParams) -> dict[str, str]:
    return params.model_dump(include={"estimator", "columns", "rows"})


def _domains(targets: Finished, rows: str) -> tuple[dict[str, str], str]:
    """The row of the matrix that each target row counts for, and what identifies a table of one's own."""
    names = {
        "domain": pl.col("subset"),
        "subtask": pl.concat_str("subset", "subtask", separator="/"),
        "file": pl.col("example_id").str.replace(r":[^:]*$", ""),
    }
    if rows in names:
        return dict(targets.scan().select("example_id", names[rows].alias("domain")).collect().iter_rows()), rows
    if not (path := Path(rows)).is_file():
        raise MissingResource(
            f"`influence.rows` is {rows!r}: it is neither domain, subtask nor file, nor a file. Give one of these, or "
            "the path of a csv or parquet file with the columns example_id and group."
        )
    known = set(targets.scan().select("example_id").collect()["example_id"])
    found = {name: group for name, group in read_groups(path, rows).items() if name in known}
    if not found:
        raise BadInput(f"None of the examples in {path} is a row of the targets, whose ids are those of `targets`.")
    return found, file_checksum(path)


def _groups(groups: Finished, columns: str) -> tuple[Path, str]:
    """The table that tells each example's group, and what identifies it."""
    if columns in ("cluster", "subset_cluster"):
        return groups.path / groups.summary["tables"]["clusters"]["file"], groups.fingerprint
    if columns == "subset":
        return groups.path / groups.summary["tables"]["lengths"]["file"], groups.fingerprint
    if not (path := Path(columns)).is_file():
        raise MissingResource(
            f"`influence.columns` is {columns!r}: it is neither subset_cluster, cluster nor subset, nor a file. Give "
            "one of these, or the path of a csv or parquet file with the columns example_id and group."
        )
    return path.absolute(), file_checksum(path)
