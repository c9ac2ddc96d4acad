"""Models trained without one cluster at a time, held to what influence foretold."""

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.evaluate.nodes import forced, score_models
from pipelines.finetune.nodes import train_mixes
from winnow.params import EvaluateParams, FinetuneParams, LeaveOutParams, Machine, TokenizeParams
from winnow.stages import Finished, FinishedParts


def leave_out(
    tokens: Finished,
    base_model: Finished,
    targets: Finished,
    matrix: Finished,
    finetune: FinetuneParams,
    evaluate: EvaluateParams,
    tokenize: TokenizeParams,
    params: LeaveOutParams,
    machine: Machine,
) -> FinishedParts:
    """The losses on the targets of models without each of the matrix's clusters, and of models with all of them."""
    # Registration imports this module, and needs no torch.
    from winnow.verification.leave_out import mixes_without

    usable = tokens.scan("lengths").filter(pl.col("split") == "train").select("example_id")
    clusters = dict(matrix.scan("groups").join(usable, on="example_id").collect().iter_rows())
    mixes, seeds = mixes_without(clusters, params)
    settings = of_fixed_steps(finetune, params, max(len(mix) for mix in mixes.values()))
    models = train_mixes(mixes, seeds, tokens, base_model, settings, machine)
    return FinishedParts(score_models(models, targets, base_model, forced(evaluate), tokenize, machine))


def of_fixed_steps(finetune: FinetuneParams, params: LeaveOutParams, rows: int) -> FinetuneParams:
    """Settings with as many steps for each mix: where no number is given, those that epochs of the whole pool take."""
    by_epochs = max(1, round(finetune.epochs * rows / finetune.batch))
    return finetune.alone(params.steps or finetune.steps or by_epochs)


def show_leave_out(matrix: Finished, losses: FinishedParts) -> tuple[pd.DataFrame, Figure, dict[str, float]]:
    """Measured beside predicted changes of the losses, as a table and heatmaps, and the correlation of their ranks."""
    from winnow.report.gains import losses_by_domain
    from winnow.report.heatmap import draw_heatmaps
    from winnow.verification.leave_out import (
        as_heatmaps,
        leave_out_metrics,
        leave_out_table,
        left_out,
        predicted_changes,
    )

    rows, cells = matrix.scan("rows").collect(), matrix.scan("cells").collect()
    by_cluster: dict[str, dict[str, Finished]] = {}
    for name, part in losses.parts.items():
        cluster, _, seed = name.rpartition("@")
        by_cluster.setdefault(cluster, {})[seed] = part
    known = {cluster: losses_by_domain(FinishedParts(parts), rows) for cluster, parts in by_cluster.items()}
    mixed = left_out(predicted_changes(cells), known)
    table = leave_out_table(mixed, cells)
    predicted, measured = as_heatmaps(table)
    titles = ("predicted change of the loss (no unit)", "measured change of the loss (dot: its interval has zero)")
    figure = draw_heatmaps(dict(zip(titles, (predicted, measured), strict=True)), ("domain", "cluster left out"))
    return table, figure, leave_out_metrics(mixed)
