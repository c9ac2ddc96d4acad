"""From evaluations to a comparison that can be read, tracked and shown."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from pipelines.arms import ArmSpec
from pipelines.finetune.nodes import merge_finetune
from winnow.params import ArmParams, BudgetParams, FinetuneParams, StudyParams
from winnow.report.comparison import Result, compare, newest_study, summarise, told_by_arm
from winnow.report.course import course_metrics, course_of, draw_course, read_losses, read_samples, shown_samples
from winnow.report.figures import accuracy_chart, draw_accuracy, draw_cost, draw_losses
from winnow.report.gains import (
    Mixed,
    draw_gains,
    gains_table,
    losses_by_domain,
    predicted_gains,
    rank_agreement,
    realised_gains,
)
from winnow.stages import Finished, FinishedParts, fingerprint

HISTORY = "history.parquet"


def describe_arm(spec: ArmSpec) -> Callable[..., dict[str, Any]]:
    """A node function that tells the tracker, before anything else runs, what makes this arm differ from others."""

    def describe(arm: ArmParams, budget: BudgetParams, finetune: FinetuneParams) -> dict[str, Any]:
        trained = spec.size != "none"
        seeds = arm.seeds if trained else 1
        params = {f"arm.{name}": value for name, value in _columns(spec, budget).items()}
        params |= {"arm.control": ",".join(spec.controls) or "none", "arm.seeds": seeds}
        if trained:
            effective = merge_finetune(finetune, arm).model_dump(mode="json")
            params |= _flat(effective, "finetune.") | _flat(arm.finetune, "arm.finetune.")
        return {"params": params, "tags": {"winnow.seeds": ",".join(map(str, range(seeds)))}}

    return describe


def summarise_trained(evaluation: FinishedParts, model: FinishedParts) -> dict[str, float]:
    """The metrics of an arm, for the tracker."""
    return {**summarise(evaluation, model), "finetune/rows": model.summary["rows"]}


def summarise_base(evaluation: FinishedParts) -> dict[str, float]:
    """The same for the arm that trains nothing."""
    return summarise(evaluation, None)


def compare_arms(arms: tuple[ArmSpec, ...]) -> Callable[..., tuple[pd.DataFrame, dict[str, Any]]]:
    """A node function that compares these arms, and tells the verdicts.

    It takes their evaluations, then the models of those that have one.
    """

    def compare_study(
        study: StudyParams, finetune: FinetuneParams, budget: BudgetParams, pool: Finished, *results: FinishedParts
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        evaluations = dict(zip((arm.name for arm in arms), results, strict=False))
        trained = [arm.name for arm in arms if arm.size != "none"]
        models = dict(zip(trained, results[len(arms) :], strict=True))
        found = {
            arm.name: Result(arm.name, _columns(arm, budget), arm.controls, evaluations[arm.name], models.get(arm.name))
            for arm in arms
        }
        settings = shared_settings(finetune, budget, pool, next(iter(evaluations.values())))
        table = compare(found, study.name, settings)
        return table, told_by_arm(table)

    return compare_study


def tell_course(model: FinishedParts) -> tuple[dict[str, float], pd.DataFrame, Figure]:
    """What was seen while an arm's models were trained: figures, answers, and a picture."""
    folders = {seed: part.path for seed, part in model.parts.items()}
    losses, samples = read_losses(folders), read_samples(folders)
    course = course_of(losses, samples)
    shown = shown_samples(samples) if len(samples) else course
    return course_metrics(course, losses), shown, draw_course(course, losses)


def tell_gains(matrix: Finished, losses: FinishedParts, reference: FinishedParts) -> dict[str, float]:
    """How much lower the losses on each row of the matrix are than those of the reference."""
    rows = matrix.scan("rows").collect()
    found = realised_gains(losses_by_domain(losses, rows), losses_by_domain(reference, rows))
    means = {f"pareto/realised_gain/{domain}": gain.mean for domain, gain in found.items()}
    return means | {f"pareto/realised_gain_ci/{domain}": gain.half_width for domain, gain in found.items()}


def compare_gains(
    arms: tuple[ArmSpec, ...], places: Sequence[Sequence[int]]
) -> Callable[..., tuple[pd.DataFrame, Figure, dict[str, float]]]:
    """A node function that sets what these arms' mixtures were predicted to gain beside what they gained.

    ``places`` says for each arm where among the inputs its matrix, mixtures and losses are, and its reference's losses.
    """

    def compare_predicted_and_realised(
        *given: Finished | FinishedParts,
    ) -> tuple[pd.DataFrame, Figure, dict[str, float]]:
        inputs: Sequence[Any] = given
        found = []
        # A reference that several arms share is one object: its seeds are drawn once for all of them.
        scored = cache(lambda matrix, losses: losses_by_domain(inputs[losses], inputs[matrix].scan("rows").collect()))
        for arm, (matrix, mixtures, losses, reference) in zip(arms, places, strict=True):
            predicted = predicted_gains(inputs[mixtures], arm.choice)
            found.append(Mixed(arm.name, predicted, scored(matrix, losses), scored(matrix, reference), arm.round))
        table, metrics = gains_table(found), rank_agreement(found)
        return table, draw_gains(table, metrics), metrics

    return compare_predicted_and_realised


def draw_study(comparison: pd.DataFrame) -> tuple[Figure, go.Figure, Figure, pd.DataFrame]:
    """Accuracy per arm and domain, for files and for the browser; cost; and the newest study's rows as a table."""
    newest = newest_study(comparison).dropna(axis=1, how="all")
    return draw_accuracy(newest), accuracy_chart(newest), draw_cost(newest), newest


def draw_curves(names: tuple[str, ...]) -> Callable[..., Figure]:
    """A node function that draws the loss curves of these arms."""

    def draw_loss_curves(*models: FinishedParts) -> Figure:
        return draw_losses({name: _curve(model) for name, model in zip(names, models, strict=True)})

    return draw_loss_curves


def shared_settings(finetune: FinetuneParams, budget: BudgetParams, pool: Finished, evaluation: FinishedParts) -> str:
    """Hash of all that arms must share to be ranked together: training settings, budget, pool, model, rows, metric."""
    part = next(iter(evaluation.parts.values()))
    settings = {"finetune": finetune, "budget": budget, "evaluate": part.parameters}
    inputs = {name: part.inputs[name] for name in ("base_model", "table")}
    return fingerprint("settings", 1, settings, {**inputs, "pool": pool.fingerprint})


def _curve(model: FinishedParts) -> pd.DataFrame:
    frames = [pd.read_parquet(part.path / HISTORY).assign(seed=int(seed)) for seed, part in model.parts.items()]
    return pd.concat(frames, ignore_index=True)


def _columns(spec: ArmSpec, budget: BudgetParams) -> dict[str, Any]:
    given = budget.model_dump(exclude_none=True)
    size = {"none": "none", "full": "all rows"}.get(
        spec.size, ", ".join(f"{name} {value}" for name, value in given.items())
    )
    return {"strategy": spec.strategy, "choice": spec.choice or spec.strategy, "budget": size}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
