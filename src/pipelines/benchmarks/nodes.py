"""Benchmark tasks: their files, the answers of each arm's models, and how arms compare with the base model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from winnow.errors import MissingResource
from winnow.params import EvaluateParams, IngestParams, Machine, TokenizeParams
from winnow.paths import located
from winnow.records.benchmarks import local_groups, refuse_ingested
from winnow.records.chat_template import template_checksum
from winnow.records.ingest import raw_folder
from winnow.records.task_files import content, write_tasks
from winnow.report.benchmarks import benchmark_metrics, benchmark_table, draw_benchmarks, shown_samples
from winnow.stages import Finished, FinishedParts, Work, file_checksum, filled, locate, require_build, table_fingerprint
from winnow.workers.launch import launch_missing

REVISION = 1
ANSWERS_REVISION = 2


def gather_tasks(params: EvaluateParams, ingest: IngestParams, machine: Machine) -> Finished:
    """Check the benchmarks' files and names before anything is trained, and write them as lm-eval reads them."""
    params = _located(params, machine)
    groups = local_groups(params)
    if (raw := raw_folder(ingest, machine.data_root)) is not None:
        refuse_ingested(groups, raw)
    inputs = {"local": table_fingerprint(content(groups)), **_own_files(params.include_path)}
    local = {name for group in groups for name in (group.name, *(task.name for task in group.tasks))}
    if others := [name for name in params.tasks if name not in local]:
        # It costs a second, and of lm-eval's own tasks six.
        from winnow.evaluation.names import find_tasks

        find_tasks(others, params.own_tasks)
    place = locate(machine.data_root / "02_intermediate", "benchmark_tasks", REVISION, {}, inputs)

    def fill(work: Work) -> dict[str, Any]:
        write_tasks(groups, work.path)
        rows = {task.name: {split: len(rows) for split, rows in task.rows.items()} for g in groups for task in g.tasks}
        return {"rows": rows}

    return filled(place, fill)


def answer_tasks(
    model: FinishedParts,
    tasks: Finished,
    base_model: Finished,
    params: EvaluateParams,
    tokenize: TokenizeParams,
    machine: Machine,
) -> FinishedParts:
    """Ask every seed's model."""
    return _answered(dict(model.parts), tasks, base_model, params, tokenize, machine)


def answer_tasks_base(
    tasks: Finished, base_model: Finished, params: EvaluateParams, tokenize: TokenizeParams, machine: Machine
) -> FinishedParts:
    """Ask the untouched base model."""
    return _answered({"0": None}, tasks, base_model, params, tokenize, machine)


def show_answers(answers: FinishedParts) -> tuple[dict[str, float], pd.DataFrame]:
    """An arm's metrics for the tracker, and some of its answers to be read."""
    return benchmark_metrics(answers), shown_samples(answers)


def compare_benchmarks(arms: tuple[str, ...]) -> Callable[..., tuple[pd.DataFrame, Figure]]:
    """A node function that sets the answers of these arms beside those of the base model, which come first."""

    def compare_with_base(base: FinishedParts, *others: FinishedParts) -> tuple[pd.DataFrame, Figure]:
        table = benchmark_table({"base": base, **dict(zip(arms, others, strict=True))})
        return table, draw_benchmarks(table)

    return compare_with_base


def _answered(
    models: Mapping[str, Finished | None],
    tasks: Finished,
    base_model: Finished,
    params: EvaluateParams,
    tokenize: TokenizeParams,
    machine: Machine,
) -> FinishedParts:
    template = tokenize.template if params.apply_chat_template else None
    settings = {**params.of_tasks(), "template": template_checksum(template)}
    inputs = {"tasks": tasks.fingerprint, "base_model": base_model.fingerprint}
    places = {
        seed: locate(
            machine.data_root / "08_reporting",
            "benchmarks",
            ANSWERS_REVISION,
            settings,
            {**inputs, "model": (model or base_model).fingerprint},
        )
        for seed, model in models.items()
    }
    missing = {seed: place for seed, place in places.items() if place.finished() is None}
    require_build(list(missing.values()))
    task = {
        "params": _located(params, machine).model_dump(mode="json"),
        "base_model": str(base_model.path),
        "tasks": str(tasks.path),
        "template": str(template) if template else None,
        "models": {seed: str(model.path) for seed, model in models.items() if model is not None},
    }
    launch_missing("benchmarks", task, missing, machine)
    parts = {seed: Finished.open(place.folder) for seed, place in places.items()}
    return FinishedParts(parts, {"tasks": params.tasks, "seeds": len(parts)})


def _located(params: EvaluateParams, machine: Machine) -> EvaluateParams:
    """The same, with the places of its folders on this machine."""
    data = {family: located(folder, machine.data_root) for family, folder in params.data.items()}
    own = located(params.include_path, machine.data_root) if params.include_path else None
    return params.model_copy(update={"data": data, "include_path": own})


def _own_files(folder: Path | None) -> dict[str, str]:
    """Checksums of the user's own task files, and of whatever lies beside them."""
    if folder is None:
        return {}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    if not any(path.suffix == ".yaml" for path in files):
        raise MissingResource(
            f"`evaluate.include_path` is {folder}, where no task file (*.yaml) is. Name the folder that holds yours."
        )
    return {f"own/{path.relative_to(folder).as_posix()}": file_checksum(path) for path in files}
