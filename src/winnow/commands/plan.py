"""`kedro plan`: call the nodes where nothing is built, and see which of them would have to build something."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from winnow.stages import Finished, FinishedParts, Place, WouldRun, planning
from winnow.tracking.store import flatten

UNKNOWN = object()


@dataclass
class Step:
    """What one node would do."""

    node: str
    action: str
    reason: str = ""
    cost: dict[str, float] = field(default_factory=dict)


def plan(options: dict[str, Any]) -> None:
    """Print the plan of a run with these options."""
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    from winnow.commands.run import kindly, named, request_arms

    names = named(options) or ("__default__",)
    request_arms(tuple(name for name in names if name != "__default__"))
    with KedroSession.create(env=options.get("env"), runtime_params=options.get("params")) as session:
        context = session.load_context()
        unknown = [name for name in names if name not in pipelines]
        if unknown:
            import click

            raise click.ClickException(f"No pipeline is called {unknown[0]!r}. `kedro registry list` shows the names.")
        catalog = kindly(lambda: context.catalog)
        steps = kindly(lambda: walk(sum(pipelines[name] for name in names), catalog))
    show(steps)


def walk(pipeline: Any, catalog: Any) -> list[Step]:
    """One step per node, in the order of the run. Inputs come from the nodes before, never from an older run."""
    known: dict[str, Any] = {}
    steps = []
    with planning():
        for node in pipeline.nodes:
            unbuilt = [name for name in node.inputs if known.get(name) is UNKNOWN]
            if unbuilt:
                step, outputs = Step(node.name, "would run", f"{unbuilt[0]} would be rebuilt"), None
                step.cost = _earlier_cost(catalog, node.outputs)
            else:
                step, outputs = _call(node, {name: _load(name, known, catalog) for name in node.inputs}, catalog)
            steps.append(step)
            known.update(dict.fromkeys(node.outputs, UNKNOWN) if outputs is None else outputs)
    return steps


def _load(name: str, known: Mapping[str, Any], catalog: Any) -> Any:
    return known[name] if name in known else catalog.load(name)


def _call(node: Any, inputs: dict[str, Any], catalog: Any) -> tuple[Step, dict[str, Any] | None]:
    if node.tags & {"report"}:
        return Step(node.name, "recomputed", "cheap"), dict.fromkeys(node.outputs)
    try:
        outputs = node.run(inputs)
    except WouldRun as needed:
        reason = explain(needed.places, _last_record(catalog, node.outputs))
        return Step(node.name, "would run", reason, _earlier_cost(catalog, node.outputs)), None
    handles = any(isinstance(value, Finished | FinishedParts) for value in outputs.values())
    return Step(node.name, "reused" if handles else "recomputed", "finished" if handles else "cheap"), outputs


def explain(places: tuple[Place, ...], record: Mapping[str, Any] | None) -> str:
    """Why these results are not there: what differs from the last run's record."""
    if record is None:
        return "first run"
    parts = record.get("parts", {"": record})
    old = next(iter(parts.values()))
    place = places[0]
    new_parameters, old_parameters = flatten(place.parameters), flatten(old["parameters"])
    changes = [
        f"parameter `{place.stage}.{name}` changed {old_parameters.get(name)} -> {new_parameters.get(name)}"
        for name in sorted(new_parameters.keys() | old_parameters.keys())
        if name != "seed" and new_parameters.get(name) != old_parameters.get(name)
    ]
    changes += [f"input `{name}` changed" for name in place.inputs if place.inputs[name] != old["inputs"].get(name)]
    if not changes or len(places) < len(parts):
        changes.append(f"{len(places)} of its results are missing")
    return "; ".join(changes[:4])


def _last_record(catalog: Any, names: list[str]) -> dict[str, Any] | None:
    for name in names:
        dataset = catalog.get(name)
        if hasattr(dataset, "last_record") and (record := dataset.last_record()):
            return dict(record)
    return None


def _earlier_cost(catalog: Any, names: list[str]) -> dict[str, float]:
    """What the last run of this stage cost: the best guess for the next."""
    record = _last_record(catalog, names)
    costs = [part.get("cost", {}) for part in record.get("parts", {"": record}).values()] if record else []
    if not any(costs):
        return {}
    seconds = sum(cost.get("seconds", 0.0) for cost in costs)
    return {"seconds": seconds, "memory": max(cost.get("peak_memory_gb", 0.0) for cost in costs)}


def show(steps: list[Step]) -> None:
    """A table of the steps, the sum, and a warning where the machine has less."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    table = Table("stage", "", "why", "last took", "memory")
    for step in steps:
        seconds = f"{step.cost['seconds']:.0f} s" if "seconds" in step.cost else ""
        memory = f"{step.cost['memory']:.2f} GB" if step.cost.get("memory") else ""
        table.add_row(step.node, step.action, step.reason, seconds, memory)
    console.print(table)
    building = [step for step in steps if step.action == "would run"]
    unknown = sum(not step.cost for step in building)
    total = sum(step.cost.get("seconds", 0.0) for step in building)
    rest = f", and {unknown} stages that have not run here yet" if unknown else ""
    console.print(
        f"{len(building)} of {len(steps)} stages would be built: about {total:.0f} s by their last run{rest}.",
        highlight=False,
    )
    _warn(console, max((step.cost.get("memory", 0.0) for step in building), default=0.0))


def _warn(console: Any, memory: float) -> None:
    from winnow.commands.doctor import memory_gb
    from winnow.settings import DATA_ROOT

    free = shutil.disk_usage(DATA_ROOT if DATA_ROOT.exists() else DATA_ROOT.parent).free / 2**30
    if memory > memory_gb():
        console.print(
            f"A stage needed {memory:.1f} GB; this machine has {memory_gb():.1f} GB. Lower `machine.micro_batch`."
        )
    if free < 1:
        console.print(f"Only {free:.1f} GB are free for {DATA_ROOT}.")
