"""Local tasks as the files that lm-evaluation-harness reads: YAML beside its template, and rows as parquet."""

import json
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from winnow.records.benchmarks import LocalGroup, LocalTask


def write_tasks(groups: list[LocalGroup], folder: Path) -> None:
    """Fill ``tasks`` and ``rows``, such that `lm_eval run --include_path` can use them too."""
    for name in ("tasks", "rows"):
        # An attempt that was killed may have left some.
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    for name, text in _yaml_files(groups).items():
        (folder / "tasks" / name).write_text(text, encoding="utf-8")
    for task in (task for group in groups for task in group.tasks):
        (folder / "rows" / task.name).mkdir()
        for split, rows in task.rows.items():
            table = pl.DataFrame(rows, infer_schema_length=None)
            table.write_parquet(folder / "rows" / task.name / f"{split}.parquet")


def content(groups: list[LocalGroup]) -> Iterator[tuple[str, ...]]:
    """All that is written, piece by piece, for its fingerprint."""
    yield from sorted(_yaml_files(groups).items())
    for task in (task for group in groups for task in group.tasks):
        for split, rows in sorted(task.rows.items()):
            yield from ((task.name, split, json.dumps(row, sort_keys=True)) for row in rows)


def _yaml_files(groups: list[LocalGroup]) -> dict[str, str]:
    templates = {task.template for group in groups for task in group.tasks}
    files = {f"{name}.yaml": _template(name) for name in templates}
    for group in groups:
        files |= {f"{task.name}.yaml": _of_task(task) for task in group.tasks if task.name != task.template}
        files |= {f"{group.name}.yaml": _of_group(group)} if group.metrics else {}
    return files


def _template(name: str) -> str:
    return (resources.files("winnow.evaluation") / "tasks" / f"{name}.yaml").read_text(encoding="utf-8")


def _of_task(task: LocalTask) -> str:
    content: dict[str, Any] = {"include": f"{task.template}.yaml", "task": task.name}
    content |= {"dataset_kwargs": {"task": task.name}, **task.settings}
    scoring = f"process_results: !function {task.scored_by}\n" if task.scored_by else ""
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False) + scoring


def _of_group(group: LocalGroup) -> str:
    metrics = [{"metric": name, "aggregation": "mean", "weight_by_size": group.by_size} for name in group.metrics]
    names = [task.name for task in group.tasks]
    content = {"group": group.name, "task": names, "aggregate_metric_list": metrics, "metadata": {"version": 1}}
    return yaml.safe_dump(content, sort_keys=False)
