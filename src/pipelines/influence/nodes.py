"""Scores of every training row for every subtask, what they select, and how far they can be trusted."""

from functools import cache, partial
from typing import Any

import pandas as pd
import polars as pl
from matplotlib.figure import Figure

from pipelines.gradients.nodes import checkpoint_task, checkpoint_weights
from pipelines.targets.nodes import domains_of, labels_of
from winnow.errors import BadSetting
from winnow.influence.files import top_name, write_selected
from winnow.influence.ranking import target_scores, weighted_scores
from winnow.params import BudgetParams, GradientsParams, InfluenceParams, Machine, SelectionParams
from winnow.records.tokens import TokenTable
from winnow.report.influence import diagnose, draw_diagnostics, extreme_examples
from winnow.selection import repeats_of_chosen, take
from winnow.stages import Finished, FinishedParts, Place, Work, filled, locate, require_build
from winnow.workers.launch import launch_missing

REVISION = 1
TABLE = "scores"


def score(
    train_gradients: FinishedParts,
    validation_gradients: FinishedParts,
    targets: Finished,
    params: InfluenceParams,
    machine: Machine,
) -> FinishedParts:
    """Cosines from the stores, one table per checkpoint, sealed under what decided it."""
    rows = train_gradients.summary["rows"]
    per_row = 4 * rows * targets.summary["tables"]["targets"]["rows"] <= params.per_row_mb * 2**20
    form = {"per_row": per_row}
    places = _score_stores(train_gradients, validation_gradients, targets, labels_of(targets), form, params, machine)
    return _opened(places, train_gradients.summary["weights"])


def score_in_units_of_loss(
    train_features: FinishedParts,
    target_features: FinishedParts,
    targets: Finished,
    params: InfluenceParams,
    machine: Machine,
) -> FinishedParts:
    """Dot products from the stores: how much lower each row makes the mean loss of each target, to the first order."""
    form = {"per_row": False, "normalize": False}
    places = _score_stores(train_features, target_features, targets, domains_of(targets), form, params, machine)
    return _opened(places, train_features.summary["rates"])


def _score_stores(
    train_features: FinishedParts,
    target_features: FinishedParts,
    targets: Finished,
    labels: dict[str, str],
    form: dict[str, bool],
    params: InfluenceParams,
    machine: Machine,
) -> dict[str, Place]:
    """A table per checkpoint, each with a column per label."""
    sides = stores_of(train_features, target_features, params)
    root = machine.data_root / "03_primary"
    places = {
        step: locate(
            root,
            "scores",
            REVISION,
            {"mode": "store", **form},
            {"train": train.fingerprint, "validation": validation.fingerprint, "targets": targets.fingerprint},
        )
        for step, (train, validation) in sides.items()
    }
    missing = {step: place for step, place in places.items() if place.finished() is None}
    if missing:
        require_build(list(missing.values()))
        task = {
            "train": {step: str(train.path) for step, (train, _) in sides.items()},
            "targets": {step: str(validation.path) for step, (_, validation) in sides.items()},
            "labels": labels,
            "normalize": True,
            **form,
            "data": {"train": tokens_of(train_features), "targets": tokens_of(target_features)},
        }
        launch_missing("scores", task, missing, machine.one_process())
    return places


def score_directly(
    checkpoints: Finished,
    tokens: Finished,
    target_tokens: Finished,
    targets: Finished,
    base_model: Finished,
    gradients: GradientsParams,
    params: InfluenceParams,
    machine: Machine,
) -> FinishedParts:
    """The same scores without a store: exact, and as long again for every other target."""
    weights = checkpoint_weights(checkpoints, gradients)
    inputs = {
        "tokens": tokens.fingerprint,
        "target_tokens": target_tokens.fingerprint,
        "targets": targets.fingerprint,
        "base_model": base_model.fingerprint,
        "checkpoints": checkpoints.fingerprint,
    }
    # How shards are cut is no part of the result, but a pass that was killed is resumed by it.
    decisive = {"feature", "adam", "parameters", "batch", "batch_tokens", "precision", "shard_rows"}
    settings = {**gradients.model_dump(mode="json", include=decisive), "mode": "direct"}
    root = machine.data_root / "03_primary"
    places = {step: locate(root, "scores", REVISION, {**settings, "step": int(step)}, inputs) for step in weights}
    missing = {step: place for step, place in places.items() if place.finished() is None}
    if missing:
        require_build(list(missing.values()))
        task = {
            "params": gradients.model_dump(mode="json"),
            "base_model": str(base_model.path),
            "tokens": str(tokens.path),
            "target_tokens": str(target_tokens.path),
            "labels": labels_of(targets),
            "limit_gb": params.direct_gb,
            **checkpoint_task(checkpoints, gradients),
        }
        launch_missing("direct", task, missing, machine)
    return _opened(places, weights)


def write_selected_files(
    scores: FinishedParts,
    train: Finished,
    tokens: Finished,
    params: InfluenceParams,
    budget: BudgetParams,
    selection: SelectionParams,
    machine: Machine,
) -> Finished:
    """`selected_data/<target>/sorted.csv` and `top_p0.05.jsonl`, as users of LESS know them."""
    settings = {
        "weights": scores.summary["weights"],
        "aggregate": params.aggregate,
        "budget": budget,
        "selection": selection,
    }
    inputs = {"scores": scores.fingerprint, "train": train.fingerprint, "tokens": tokens.fingerprint}
    place = locate(machine.data_root / "03_primary", "selected_data", REVISION, settings, inputs)

    def fill(work: Work) -> dict[str, Any]:
        pool = tokens.scan("lengths").filter(pl.col("split") == "train").collect()
        table = read_scores(scores).join(pool.select("example_id"), on="example_id")
        rows = cache(partial(TokenTable.open, tokens.path, "train"))

        def choose(ranking: pd.DataFrame) -> pd.DataFrame:
            return take(ranking, pool.to_pandas(), budget, repeats_of_chosen(rows, selection))

        name = top_name(budget)
        files = write_selected(work.path / "selected_data", table, train.scan(), params.aggregate, choose, name)
        return {"files": files}

    return filled(place, fill)


def diagnose_scores(
    scores: FinishedParts, tokens: Finished, train: Finished, params: InfluenceParams, *stores: FinishedParts
) -> tuple[pd.DataFrame, Figure, pd.DataFrame]:
    """How far the scores can be trusted, as a table and a figure; and the best and worst rows with their text."""
    tables = {step: part.scan(TABLE).collect() for step, part in scores.parts.items()}
    lengths = tokens.scan("lengths").filter(pl.col("split") == "train").select("example_id", "n_supervised").collect()
    whole = weighted_scores(tables, scores.summary["weights"])
    found = target_scores(whole, params.aggregate)
    certificates = {name: part.summary["certificate"] for store in stores for name, part in store.parts.items()}
    ids = whole["example_id"]
    table = diagnose(tables, scores.summary["weights"], ids, found, lengths, certificates)
    return table, draw_diagnostics(tables, ids, found, lengths), extreme_examples(ids, found, train.scan())


def read_scores(scores: FinishedParts) -> pl.DataFrame:
    """The checkpoints' tables, weighed and summed."""
    tables = {step: part.scan(TABLE).collect() for step, part in scores.parts.items()}
    return weighted_scores(tables, scores.summary["weights"])


def stores_of(
    train_gradients: FinishedParts, validation_gradients: FinishedParts, params: InfluenceParams
) -> dict[str, tuple[Finished, Finished]]:
    """The training rows' store and the targets' of each checkpoint, with as many dimensions as asked for."""
    dims = sorted({int(name.split("@")[1]) for name in train_gradients.parts})
    dim = params.dim or dims[-1]
    if dim not in dims:
        raise BadSetting(f"`influence.dim` is {dim}; features were collected with `gradients.dims` {dims}.")
    steps = train_gradients.summary["weights"]
    return {
        step: tuple(side.parts[f"{step}@{dim}"] for side in (train_gradients, validation_gradients)) for step in steps
    }


def tokens_of(gradients: FinishedParts) -> str:
    """The fingerprint of the rows that features were collected of."""
    return next(iter(gradients.parts.values())).inputs["tokens"]


def _opened(places: dict[str, Place], weights: dict[str, float]) -> FinishedParts:
    parts = {step: Finished.open(place.folder) for step, place in places.items()}
    rows = min(part.summary["tables"][TABLE]["rows"] for part in parts.values())
    return FinishedParts(parts, {"weights": weights, "rows": rows})
