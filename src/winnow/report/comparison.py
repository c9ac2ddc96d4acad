"""One row per arm: accuracy with its interval, loss, cost, and the verdict against the arm's control."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from winnow.report.statistics import difference, estimate, verdict
from winnow.stages import FinishedParts


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
    rows = [_row(result, results, matrices, study, settings) for result in results.values()]
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True)


def _row(
    result: Result, results: Mapping[str, Result], matrices: Mapping[str, np.ndarray], study: str, settings: str
) -> dict[str, Any]:
    metrics = summarise(result.evaluation, result.model)
    short = {name.removeprefix("evaluate/").removeprefix("cost/"): value for name, value in metrics.items()}
    controls = [name for name in result.controls if name in results and name != result.name]
    gaps = {name: difference(matrices[result.name], matrices[name]) for name in controls}
    return {
        "study": study,
        "settings": settings,
        "arm": result.name,
        **result.description,
        "control": ",".join(result.controls),
        "seeds": len(result.evaluation.parts),
        **short,
        "versus_control": "; ".join(verdict(gap, name) for name, gap in gaps.items()),
        "p_value": min((gap.p_value for gap in gaps.values()), default=float("nan")),
        "fingerprint": result.evaluation.fingerprint,
    }
