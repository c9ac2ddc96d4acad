"""One row per arm: accuracy with its interval, loss, cost, and the verdict against the arm's control."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from winnow.report.statistics import estimate
from winnow.report.verdict import Verdict, verdicts
from winnow.stages import FinishedParts

VERDICT = ("effect", "effect_ci", "p_value", "p_holm", "seeds_needed")


@dataclass(frozen=True)
class Result:
    """What is known of one arm: how it is described, its answers, and what it cost."""

    name: str
    description: dict[str, Any]
    controls: tuple[str, ...]
    evaluation: FinishedParts
    model: FinishedParts | None = None


def answers(evaluation: FinishedParts) -> pd.DataFrame:
    """All rows of all seeds: seed, example_id, domain, correct, loss."""
    frames = [part.scan("rows").collect().to_pandas().assign(seed=int(seed)) for seed, part in evaluation.parts.items()]
    return pd.concat(frames, ignore_index=True)


def matrix(rows: pd.DataFrame, value: str = "correct") -> np.ndarray:
    """Values [seeds, rows], rows in the order of their ids."""
    return rows.pivot(index="seed", columns="example_id", values=value).astype(float).to_numpy()


def summarise(evaluation: FinishedParts, model: FinishedParts | None) -> dict[str, float]:
    """The metrics of one arm, under the names the tracker uses."""
    rows = answers(evaluation)
    whole = estimate(matrix(rows))
    metrics = {"evaluate/accuracy": whole.mean, "evaluate/accuracy_ci": whole.half_width}
    metrics["evaluate/loss"] = float(rows["loss"].mean())
    for domain, part in rows.groupby("domain"):
        own = estimate(matrix(part))
        metrics |= {f"evaluate/accuracy/{domain}": own.mean, f"evaluate/accuracy_ci/{domain}": own.half_width}
        metrics[f"evaluate/loss/{domain}"] = float(part["loss"].mean())
    return {**metrics, **_cost(evaluation, model)}


def _cost(evaluation: FinishedParts, model: FinishedParts | None) -> dict[str, float]:
    """Seconds over all seeds; tokens per second of the training where there was one."""
    trained = [part.cost for part in model.parts.values()] if model else []
    scored = [part.cost for part in evaluation.parts.values()]
    return {
        "cost/seconds": sum(cost["seconds"] for cost in (*trained, *scored)),
        "cost/peak_memory_gb": max(cost["peak_memory_gb"] for cost in (*trained, *scored)),
        "cost/tokens_per_second": float(np.mean([cost["tokens_per_second"] for cost in trained or scored])),
    }


def compare(results: Mapping[str, Result], study: str, settings: str) -> pd.DataFrame:
    """The table of arms that share ``settings``, best first."""
    rows_of = {name: answers(result.evaluation) for name, result in results.items()}
    assert len({frozenset(rows["example_id"]) for rows in rows_of.values()}) == 1, "arms were asked different questions"
    matrices = {name: matrix(rows) for name, rows in rows_of.items()}
    told = verdicts({name: _controls(result, results) for name, result in results.items()}, matrices)
    rows = [_row(result, told[name], study, settings) for name, result in results.items()]
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True)


def _controls(result: Result, results: Mapping[str, Result]) -> list[str]:
    """Those of the arm's controls that ran, too."""
    return [name for name in result.controls if name in results and name != result.name]


def _row(result: Result, told: Sequence[Verdict], study: str, settings: str) -> dict[str, Any]:
    metrics = summarise(result.evaluation, result.model)
    short = {name.removeprefix("evaluate/").removeprefix("cost/"): value for name, value in metrics.items()}
    return {
        "study": study,
        "settings": settings,
        "arm": result.name,
        **result.description,
        "control": ",".join(result.controls),
        "seeds": len(result.evaluation.parts),
        **short,
        **_against_hardest(told),
        "verdict": "; ".join(verdict.sentence for verdict in told),
        "fingerprint": result.evaluation.fingerprint,
    }


def _against_hardest(told: Sequence[Verdict]) -> dict[str, float]:
    """The numbers of the verdict that counts; of an arm without a control there are none."""
    numbers = dict.fromkeys(VERDICT, float("nan"))
    if told:
        hardest = told[0]
        values = (hardest.gap.mean, hardest.gap.half_width, hardest.gap.p_value)
        numbers = dict(zip(VERDICT, (*values, hardest.p_holm, hardest.seeds_needed), strict=True))
    return numbers


def told_by_arm(comparison: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """What the tracker is told of each arm that has a control: numbers, and the sentence as a tag."""
    found = {}
    for row in comparison[comparison["verdict"] != ""].to_dict("records"):
        numbers = {f"verdict/{name}": row[name] for name in VERDICT if math.isfinite(row[name])}
        found[str(row["arm"])] = {"metrics": numbers, "tags": {"winnow.verdict": row["verdict"]}}
    return found


def newest_study(comparison: pd.DataFrame) -> pd.DataFrame:
    """The rows that share the settings of the last one, best first."""
    newest = comparison[comparison["settings"] == comparison["settings"].iloc[-1]]
    return newest.sort_values("accuracy", ascending=False, ignore_index=True)
