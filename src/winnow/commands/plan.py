"""`kedro plan`: call the nodes where nothing is built, and see which of them would have to build something."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from winnow.commands.estimate import Estimate, estimate, estimate_again
from winnow.errors import StaleOutput
from winnow.params import ArmParams
from winnow.stages import Finished, FinishedParts, Place, WouldRun, planning
from winnow.tracking.store import flatten

UNKNOWN = object()
# Stages whose parameters are called otherwise.
_SECTIONS = {"tokens": "tokenize", "base": "fabricate", "fabricated": "fabricate", "pretrained": "model"}
_SECTIONS |= dict.fromkeys(("losses", "checkpoint_losses"), "trajectories")
_SECTIONS |= dict.fromkeys(("benchmarks", "benchmark_tasks"), "evaluate")
_SECTIONS |= {"ekfac": "influence.ekfac", "influence_matrix": "influence"}
_SECTIONS |= {f"select_moe_{stage}": "select_moe" for stage in ("converted", "verified", "warmup", "score")}
# Its parameters are those of several sections, and say of which.
_SECTIONS |= {"training_cost": ""}
_SECTIONS |= dict.fromkeys(("row_scores", "rds_scores"), "baselines")
_SECTIONS |= {"bm25_scores": "baselines.bm25", "diverse_order": "budget", "contamination": "verify.contamination"}
_MOST_REASONS = 4


@dataclass(frozen=True)
class Step:
    """What one stage would do, and what that would cost, where it can be said."""

    node: str
    builds: bool
    reason: str
    estimate: Estimate | None = None


def plan(options: dict[str, Any]) -> None:
    """Print the plan of a run with these options."""
    from kedro.framework.session import KedroSession

    from winnow.commands.kindly import kindly
    from winnow.commands.plan_table import show
    from winnow.commands.run import chosen_pipeline, named, prefer_command_line, request_arms

    prefer_command_line(options)
    request_arms(named(options))
    settings = {"env": options["env"], "conf_source": options["conf_source"], "runtime_params": options["params"]}
    with KedroSession.create(**settings) as session:
        context = kindly(session.load_context)
        pipeline = kindly(lambda: chosen_pipeline(options))
        catalog = kindly(lambda: context.catalog)
        steps = kindly(lambda: walk(pipeline, catalog))
    show(steps, len(pipeline.nodes), catalog.load("params:machine"))


def walk(pipeline: Any, catalog: Any) -> list[Step]:
    """One step per stage, in the order of the run. Inputs come from the nodes before, never from an older run.

    What is no stage (a ranking, a figure) is computed in memory where a stage needs it, and else left alone.
    """
    stages = {node.name for node in pipeline.nodes if any(_is_stage(catalog.get(name)) for name in node.outputs)}
    known: dict[str, Any] = {}
    steps = []
    with planning():
        for node in pipeline.to_nodes(*stages).nodes if stages else ():
            unbuilt = [name for name in node.inputs if known.get(name) is UNKNOWN]
            if unbuilt:
                step, outputs = _blocked(node, unbuilt[0], catalog, node.name in stages), None
            else:
                step, outputs = _call(node, {name: _load(name, known, catalog) for name in node.inputs}, catalog)
            steps += [step] if node.name in stages else []
            known.update(dict.fromkeys(node.outputs, UNKNOWN) if outputs is None else outputs)
    return steps


def explain(places: tuple[Place, ...], record: Mapping[str, Any] | None, wanted: int) -> str:
    """Why these of ``wanted`` results are not there: what differs from the last run's record."""
    reasons = [f"{wanted - len(places)} of {wanted} seeds are finished"] if len(places) < wanted else []
    if any(place.partial.exists() for place in places):
        reasons.append("goes on where it was interrupted")
    if record is None or record.get("parts") == {}:
        return "; ".join(["first run", *reasons])
    parts = list(record.get("parts", {"": record}).values())
    for place in places:
        old = next((part for part in parts if part["parameters"].get("seed") == place.parameters.get("seed")), None)
        if old:
            return "; ".join([*_differences(place, old), *reasons])
    return "; ".join(reasons) or "new seeds"


def _differences(place: Place, old: Mapping[str, Any]) -> list[str]:
    section = f"{_SECTIONS.get(place.stage, place.stage)}.".removeprefix(".")
    new_parameters, old_parameters = flatten(place.parameters), flatten(old["parameters"])
    changes = [
        f"parameter `{section}{name}` changed {old_parameters.get(name)} -> {new_parameters.get(name)}"
        for name in sorted(new_parameters.keys() | old_parameters.keys())
        if new_parameters.get(name) != old_parameters.get(name)
    ]
    changes += [
        f"input `{name}` changed"
        for name in sorted(place.inputs.keys() | old["inputs"].keys())
        if place.inputs.get(name) != old["inputs"].get(name)
    ]
    if len(changes) > _MOST_REASONS:
        changes = [*changes[:_MOST_REASONS], f"and {len(changes) - _MOST_REASONS} more"]
    if not changes:
        deleted = old["fingerprint"] == place.fingerprint
        changes = ["its result was deleted" if deleted else "the stage's code has a new revision"]
    return changes


def _is_stage(dataset: Any) -> bool:
    return hasattr(dataset, "last_record")


def _load(name: str, known: Mapping[str, Any], catalog: Any) -> Any:
    return known[name] if name in known else catalog.load(name)


def _blocked(node: Any, unbuilt: str, catalog: Any, stage: bool) -> Step:
    """A node behind something that would be rebuilt: nothing exact can be said, so it is taken to cost what it did."""
    parts = _last_results(catalog, node.outputs) if stage else []
    params = (catalog.load(name) for name in node.inputs if name.startswith("params:"))
    seeds = next((value.seeds for value in params if isinstance(value, ArmParams)), len(parts))
    return Step(node.name, True, f"`{unbuilt}` would be rebuilt", estimate_again(parts, seeds) if parts else None)


def _call(node: Any, inputs: dict[str, Any], catalog: Any) -> tuple[Step, dict[str, Any] | None]:
    try:
        outputs = node.run(inputs)
    except WouldRun as needed:
        reason = explain(needed.places, _last_record(catalog, node.outputs), _wanted(inputs))
        return Step(node.name, True, reason, estimate(needed.places, _rows(inputs))), None
    return Step(node.name, False, ""), outputs


def _wanted(inputs: Mapping[str, Any]) -> int:
    """How many results a node makes: one per seed of its arm, or per model."""
    models = [len(value.parts) for value in inputs.values() if isinstance(value, FinishedParts)]
    seeds = [value.seeds for value in inputs.values() if isinstance(value, ArmParams)]
    return next(iter([*models, *seeds]), 1)


def _rows(inputs: Mapping[str, Any]) -> int | None:
    """Rows that one seed is trained on, where the node gets a mix."""
    mixes = (value for value in inputs.values() if isinstance(value, pd.DataFrame) and "multiplicity" in value)
    return next((int(mix.groupby("seed")["multiplicity"].sum().max()) for mix in mixes), None)


def _last_record(catalog: Any, names: list[str]) -> dict[str, Any] | None:
    records = (catalog.get(name).last_record() for name in names if _is_stage(catalog.get(name)))
    return next((dict(record) for record in records if record), None)


def _last_results(catalog: Any, names: list[str]) -> list[Finished]:
    """What the last run made, as far as it is still there."""
    stages = [catalog.get(name) for name in names if _is_stage(catalog.get(name))]
    try:
        handle = stages[0].load()
    except StaleOutput:
        return []
    return list(handle.parts.values()) if isinstance(handle, FinishedParts) else [handle]
