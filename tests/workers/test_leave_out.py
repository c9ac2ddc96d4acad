"""Models trained without a cluster, from their mixes to the table."""

from pathlib import Path

import polars as pl
import pytest

from pipelines.finetune.nodes import train_mixes
from pipelines.leave_out.nodes import leave_out, show_leave_out
from support.tiny import Tiny
from winnow.params import EvaluateParams, FinetuneParams, LeaveOutParams, TokenizeParams
from winnow.stages import Finished, Work, locate

FEW = FinetuneParams(steps=4, batch=8, lr=0.01, precision="fp32")


@pytest.fixture
def matrix(tiny: Tiny, tmp_path: Path, targets: Finished) -> Finished:
    """Subsets as clusters, with an influence that nobody measured."""
    groups = tiny.tokens.scan("lengths").filter(pl.col("split") == "train")
    groups = groups.select("example_id", pl.col("subset").alias("cluster")).collect()
    rows = targets.scan().select("example_id", pl.col("subset").alias("domain")).collect()
    sizes = groups.group_by("cluster").len("rows")
    cells = rows.select("domain").unique().join(sizes, how="cross").sort("domain", "cluster")
    cells = cells.with_columns(influence=pl.int_range(pl.len()).cast(pl.Float64), error=pl.lit(0.1))
    with Work.resume(locate(tmp_path, "influence_matrix", 1, {}, {})) as work:
        return work.finish({"tables": work.commit_tables({"cells": cells, "groups": groups, "rows": rows})}, {})


def test_each_cluster_is_left_out_and_its_models_are_compared_with_those_of_all_rows(
    tiny: Tiny, root: Path, targets: Finished, matrix: Finished
):
    params, machine = LeaveOutParams(seeds=2), tiny.machine(root)
    settings = (FEW, EvaluateParams(), TokenizeParams(), params, machine)
    losses = leave_out(tiny.tokens, tiny.base, targets, matrix, *settings)
    assert set(losses.parts) == {f"{name}@{seed}" for name in ("", "code", "math", "science") for seed in (0, 1)}
    assert leave_out(tiny.tokens, tiny.base, targets, matrix, *settings) == losses

    groups = dict(matrix.scan("groups").collect().iter_rows())
    without = {name: 1 for name, group in groups.items() if group != "math"}
    model = train_mixes({"mine": without}, {"mine": 1}, tiny.tokens, tiny.base, FEW, machine)["mine"]
    assert losses.parts["math@1"].inputs["model"] == model.fingerprint

    table, figure, metrics = show_leave_out(matrix, losses)
    assert len(table) == 9
    part = table[(table.cluster == "math") & (table.domain == "code")].iloc[0]
    ids = matrix.scan("rows").filter(domain="code").collect()["example_id"]

    def mean_loss(name: str) -> float:
        rows = losses.parts[name].scan("rows").collect()
        return rows.filter(pl.col("example_id").is_in(ids.to_list()))["loss"].mean()

    rises = [mean_loss(f"math@{seed}") - mean_loss(f"@{seed}") for seed in (0, 1)]
    assert part["measured"] == pytest.approx(sum(rises) / 2, rel=1e-4, abs=1e-6)
    assert part["rows"] == len(groups) - len(without)
    assert len(figure.axes) == 4, "two heatmaps, each with its scale"
    assert "verify/leave_out/spearman" in metrics
