"""The table of arms, from evaluations on disk."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from winnow.report.comparison import Result, compare, summarise
from winnow.stages import Finished, FinishedParts

DOMAINS = ("code", "math")


def evaluation(folder: Path, correct: np.ndarray, shuffle: int = 0) -> FinishedParts:
    """One part per row of ``correct`` [seeds, examples]; examples alternate between the domains."""
    parts = {}
    for seed, answers in enumerate(correct):
        path = folder / str(seed)
        path.mkdir(parents=True)
        rows = pl.DataFrame(
            {
                "example_id": [f"{DOMAINS[row % 2]}/a.jsonl:{row}" for row in range(len(answers))],
                "domain": [DOMAINS[row % 2] for row in range(len(answers))],
                "correct": answers.astype(bool),
                "loss": np.linspace(0, 1, len(answers)),
                "n_supervised": [3] * len(answers),
            }
        )
        rows.sample(fraction=1, shuffle=True, seed=shuffle + seed).write_parquet(path / "rows.parquet")
        cost = {"seconds": 2.0, "peak_memory_gb": 0.5 + seed, "tokens_per_second": 10.0}
        tables = {"rows": {"file": "rows.parquet", "rows": rows.height, "fingerprint": f"{folder.name}{seed}"}}
        parts[str(seed)] = Finished("evaluate", f"{folder.name}{seed}", path, summary={"tables": tables}, cost=cost)
    return FinishedParts(parts)


def result(name: str, found: FinishedParts, controls: tuple[str, ...] = ("random",)) -> Result:
    return Result(name, {"strategy": name}, () if name == "random" else controls, found)


@pytest.fixture
def study(tmp_path: Path) -> dict[str, Result]:
    rng = np.random.default_rng(0)
    poor, good = rng.random((10, 200)) < 0.5, rng.random((5, 200)) < 0.9
    found = {"random": poor, "clean": good}
    return {name: result(name, evaluation(tmp_path / name, matrix)) for name, matrix in found.items()}


def test_one_row_per_arm_best_first(study: dict[str, Result]):
    table = compare(study, "demo", "abc")
    assert list(table.arm) == ["clean", "random"]
    assert list(table.seeds) == [5, 10]
    assert table.verdict[0].startswith("better than random by")
    assert table.verdict[1] == ""
    assert {"study", "settings", "accuracy_ci", "accuracy/math", "accuracy_ci/code", "loss/math", "fingerprint"} <= {
        *table.columns
    }


def test_an_arm_whose_control_did_not_run_has_no_verdict(study: dict[str, Result]):
    assert compare({"clean": study["clean"]}, "demo", "abc").verdict[0] == ""


def test_the_order_of_rows_in_the_files_does_not_matter(tmp_path: Path):
    correct = np.random.default_rng(1).random((3, 60)) < 0.5
    first, second = (evaluation(tmp_path / str(number), correct, shuffle=number) for number in (1, 100))
    table = compare({"random": result("random", first), "twin": result("twin", second)}, "demo", "abc")
    assert table.set_index("arm").verdict["twin"].startswith("not distinguishable from random at this budget (+0.0")


def test_a_domain_counts_its_own_rows_only(tmp_path: Path):
    correct = np.tile(np.arange(40) % 2 == 0, (2, 1))
    metrics = summarise(evaluation(tmp_path / "x", correct), None)
    assert metrics["evaluate/accuracy"] == 0.5
    assert metrics["evaluate/accuracy/code"] == 1.0
    assert metrics["evaluate/accuracy/math"] == 0.0
    assert metrics["evaluate/accuracy_ci/math"] > 0


def test_cost_adds_seconds_and_takes_the_highest_memory(tmp_path: Path):
    found = evaluation(tmp_path / "x", np.ones((3, 10)))
    metrics = summarise(found, found)
    assert metrics["cost/seconds"] == 12.0
    assert metrics["cost/peak_memory_gb"] == 2.5
    assert metrics["cost/tokens_per_second"] == 10.0
