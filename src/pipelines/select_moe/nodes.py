"""Train a selector's routers, score the pool by what they keep, and show what that is."""

from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.warmup.nodes import drawn
from winnow.params import BudgetParams, Machine, ModelParams, SelectMoeParams
from winnow.pretrained import record_pretrained
from winnow.stages import Finished, Work, filled, locate
from winnow.workers.launch import built

REVISION = 1
HISTORY = "history.parquet"


def use_selector(params: SelectMoeParams, machine: Machine) -> Finished:
    """Record the mixture of experts that `select_moe.base` names."""
    named = ModelParams(base=params.base, revision=params.revision, trust_remote_code=params.trust_remote_code)
    return record_pretrained(named, machine.data_root / "06_models", "select_moe.base")


def warm_up_routers(
    converted: Finished, base_model: Finished, tokens: Finished, params: SelectMoeParams, machine: Machine
) -> Finished:
    """Stage 1: the gates after training on a share of the pool."""
    settings = params.model_dump(mode="json", include={"dtype", "tokens", "constraint", "warmup"})
    place = locate(
        machine.data_root / "06_models",
        "select_moe_warmup",
        REVISION,
        settings,
        {"converted": converted.fingerprint, "base_model": base_model.fingerprint, "tokens": tokens.fingerprint},
    )
    task = {
        "params": params.model_dump(mode="json"),
        "converted": str(converted.path),
        "base_model": str(base_model.path),
        "tokens": str(tokens.path),
        "rows": list(drawn(tokens, params.warmup.share, params.warmup.seed)),
    }
    return built("select_moe_warmup", task, place, machine)


def score_pool(
    gates: Finished, base_model: Finished, tokens: Finished, params: SelectMoeParams, machine: Machine
) -> Finished:
    """Stage 2: the quality of a share of the pool, or of all of it."""
    settings = params.model_dump(mode="json", include={"dtype", "tokens"})
    settings["score"] = params.score.model_dump(mode="json", exclude={"clusters"})
    place = locate(
        machine.data_root / "03_primary",
        "select_moe_score",
        REVISION,
        settings,
        {"gates": gates.fingerprint, "base_model": base_model.fingerprint, "tokens": tokens.fingerprint},
    )
    task = {
        "params": params.model_dump(mode="json"),
        "gates": str(gates.path),
        "base_model": str(base_model.path),
        "tokens": str(tokens.path),
        "rows": list(drawn(tokens, params.score.share, params.score.seed)),
    }
    return built("select_moe_score", task, place, machine)


def show_quality(
    quality: Finished, gates: Finished, train: Finished, params: SelectMoeParams
) -> tuple[Figure, Figure, Figure, pd.DataFrame]:
    """Quality by subset and by layer, what routers threw away while they learnt, and the best and worst rows."""
    # Registration imports this module, and needs none of these.
    from winnow.moe.constraint import least_mass
    from winnow.report.select_moe import draw_layers, draw_quality, draw_warmup, extreme_rows

    subsets = train.scan().select("example_id", "subset").collect()
    table = quality.scan("quality").collect().join(subsets, on="example_id", maintain_order="left")
    history = pd.read_parquet(gates.path / HISTORY)
    return (
        draw_quality(table),
        draw_layers(table),
        draw_warmup(history, least_mass(params.constraint)),
        extreme_rows(table, train.scan()),
    )


def separate(quality: Finished, planted: Finished) -> tuple[pd.DataFrame, dict[str, float]]:
    """Whether quality tells planted rows from clean ones: the area under the ROC curve of each kind."""
    from winnow.report.separation import separation

    found = separation(quality.scan("quality").collect(), planted.scan().select("example_id", "kind").collect())
    known = found.drop_nulls("auc")
    metrics = {f"select_moe/auc/{kind}": auc for kind, auc in known.select("kind", "auc").iter_rows()}
    return found.to_pandas(), metrics


def write_selected_data(
    quality: Finished, train: Finished, tokens: Finished, budget: BudgetParams, machine: Machine
) -> Finished:
    """`selected_data.jsonl`: what the budget allows, best first, with scores."""
    from winnow.moe.files import write_selected
    from winnow.selection import rank_by_quality, take

    inputs = {"quality": quality.fingerprint, "train": train.fingerprint, "tokens": tokens.fingerprint}
    place = locate(machine.data_root / "03_primary", "select_moe_selected", REVISION, {"budget": budget}, inputs)

    def fill(work: Work) -> dict[str, Any]:
        pool = tokens.scan("lengths").filter(pl.col("split") == "train").collect()
        ranking = rank_by_quality(quality.scan("quality").collect().join(pool.select("example_id"), on="example_id"))
        count = len(take(ranking, pool.to_pandas(), budget))
        work.commit("selected_data.jsonl", lambda path: write_selected(path, ranking, train.scan(), count))
        return {"rows": count}

    return filled(place, fill)
