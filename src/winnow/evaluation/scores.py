"""What lm-evaluation-harness found, as tables: a row per metric, a row per question and filter, and groups."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

SCORES = {
    "task": pl.String,
    "n_shot": pl.Int64,
    "metric": pl.String,
    "filter": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "n": pl.Int64,
    "higher_is_better": pl.Boolean,
}
SAMPLES = {
    "task": pl.String,
    "n_shot": pl.Int64,
    "filter": pl.String,
    "doc_id": pl.Int64,
    "doc": pl.String,
    "prompt": pl.String,
    "response": pl.String,
    "filtered": pl.String,
    "target": pl.String,
}


def score_table(found: Mapping[str, Any], asked: int | None) -> pl.DataFrame:
    """Each metric of each task and group, under each filter; a standard error where the harness has one.

    ``asked`` is the count of examples of the call, which a group has whose tasks differ: some have theirs fixed.
    """
    rows = []
    members = dict(group_table(found).group_by("group").agg("task").iter_rows())
    for task, entries in found["results"].items():
        counts = {_shots(found, member) for member in members.get(task, [task])}
        shots = counts.pop() if len(counts) == 1 else asked
        better = found["higher_is_better"].get(task) or {}
        for key, value in entries.items():
            metric, comma, kind = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            error = entries.get(f"{metric}_stderr,{kind}")
            shown = {"task": task, "n_shot": shots, "metric": metric, "filter": kind}
            shown |= {"value": float(value), "stderr": float(error) if isinstance(error, int | float) else None}
            rows.append({**shown, "n": entries.get("sample_len"), "higher_is_better": better.get(metric)})
    return pl.DataFrame(rows, schema=SCORES)


def sample_table(found: Mapping[str, Any]) -> pl.DataFrame:
    """Each question with what was asked, what came, what a filter took from it, and a column per metric."""
    rows = [
        {**_sample(sample), **_values(sample), "task": task, "n_shot": _shots(found, task)}
        for task, samples in found["samples"].items()
        for sample in samples
    ]
    metrics = sorted({name for row in rows for name in row} - set(SAMPLES))
    table = pl.DataFrame(rows, schema={**SAMPLES, **dict.fromkeys(metrics, pl.Float64)})
    return table.sort("task", "n_shot", "filter", "doc_id", maintain_order=True)


def group_table(found: Mapping[str, Any]) -> pl.DataFrame:
    """Each group with each of its tasks, however deep."""
    children: Mapping[str, list[str]] = found["group_subtasks"]

    def leaves(name: str) -> Iterator[str]:
        for child in children[name]:
            yield from leaves(child) if child in children else [child]

    members = [(group, task) for group in sorted(children) for task in sorted(leaves(group))]
    return pl.DataFrame(members, schema={"group": pl.String, "task": pl.String}, orient="row")


def _shots(found: Mapping[str, Any], task: str) -> int | None:
    count = found["n-shot"].get(task)
    return count if isinstance(count, int) else None


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    context = sample["arguments"][0][0]
    return {
        "filter": sample["filter"],
        "doc_id": sample["doc_id"],
        "doc": _text(sample["doc"]),
        "prompt": _text(context),
        "response": _text(_single(sample["resps"])),
        "filtered": _text(_single(sample["filtered_resps"])),
        "target": _text(sample["target"]),
    }


def _single(value: Any) -> Any:
    """The response itself where there is one."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _values(sample: Mapping[str, Any]) -> dict[str, float]:
    """Metrics that are numbers; a perplexity has parts, which the harness puts together over all rows."""
    found = {name: sample[name] for name in sample["metrics"]}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
