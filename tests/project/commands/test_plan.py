"""`kedro plan`: what would run and why, what it would cost, and that nothing is built."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline, pipeline
from kedro.runner import SequentialRunner

from winnow.commands.estimate import Estimate
from winnow.commands.plan import Step, walk
from winnow.commands.plan_table import summary, warnings
from winnow.datasets import FinishedDataset
from winnow.params import ArmParams, FinetuneParams, Machine
from winnow.stages import Finished, FinishedParts, Work, locate, require_build

SECONDS = 10.0


def build(root: Path, stage: str, settings: dict[str, Any], inputs: dict[str, str], seeds: int = 1) -> FinishedParts:
    """A stage with a result per seed, each of which takes ten seconds, a gigabyte and a kilobyte."""
    places = {
        str(seed): locate(root / "03_primary", stage, 1, {**settings, "seed": seed}, inputs) for seed in range(seeds)
    }
    missing = [place for place in places.values() if place.finished() is None]
    require_build(missing)
    for place in missing:
        with Work.resume(place) as work:
            work.commit("weights.bin", lambda path: path.write_bytes(b"x" * 1024))
            steps = {"steps": settings["steps"]} if "steps" in settings else {}
            work.finish(steps, {"seconds": SECONDS, "peak_memory_gb": 1.0})
    return FinishedParts({seed: Finished.open(place.folder) for seed, place in places.items()})


class Project:
    """tokens -> mix -> model -> score, and a figure: two stages before and after a cheap node."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []

    def pipeline(self) -> Pipeline:
        return pipeline(
            [
                Node(self.tokenize, "params:tokens", "tokens", name="tokenize"),
                Node(self.mix, ["tokens", "params:arm"], "mix", name="mix"),
                Node(self.finetune, ["mix", "params:finetune", "params:arm"], "model", name="finetune"),
                Node(self.evaluate, "model", "score", name="evaluate"),
                Node(self.draw, "score", "figure", name="draw"),
            ]
        )

    def catalog(self, length: int = 8, seeds: int = 2, **finetune: Any) -> DataCatalog:
        kept = {
            name: FinishedDataset(filepath=str(self.root / f"{name}.json"), data_root=str(self.root))
            for name in ("tokens", "model", "score")
        }
        params = {
            "params:tokens": {"length": length},
            "params:finetune": FinetuneParams(**{"steps": 100, **finetune}),
            "params:arm": ArmParams(seeds=seeds),
        }
        return DataCatalog({**kept, **{name: MemoryDataset(value) for name, value in params.items()}})

    def run(self, catalog: DataCatalog) -> None:
        SequentialRunner().run(self.pipeline(), catalog)
        self.calls.clear()

    def plan(self, catalog: DataCatalog) -> dict[str, Step]:
        return {step.node: step for step in walk(self.pipeline(), catalog)}

    def tokenize(self, params: dict[str, Any]) -> FinishedParts:
        return build(self.root, "tokens", params, {})

    def mix(self, tokens: FinishedParts, arm: ArmParams) -> pd.DataFrame:
        self.calls.append("mix")
        rows = [{"example_id": f"{tokens.fingerprint}:{seed}", "seed": seed, "multiplicity": 64} for seed in range(10)]
        return pd.DataFrame(rows)

    def finetune(self, mix: pd.DataFrame, params: FinetuneParams, arm: ArmParams) -> FinishedParts:
        settings = params.model_dump(mode="json")
        return build(self.root, "finetune", settings, {"mix": str(mix["example_id"][0])}, arm.seeds)

    def evaluate(self, model: FinishedParts) -> FinishedParts:
        return build(self.root, "evaluate", {}, {"model": model.fingerprint})

    def draw(self, score: FinishedParts) -> str:
        self.calls.append("draw")
        return "figure"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_on_a_fresh_clone_everything_would_run_for_the_first_time(project: Project):
    steps = project.plan(project.catalog())
    assert all(step.builds for step in steps.values())
    assert steps["tokenize"].reason == "first run"
    assert steps["finetune"].reason == "`mix` would be rebuilt"
    assert steps["finetune"].estimate is None


def test_after_a_run_everything_is_reused_and_only_what_a_stage_needs_is_computed(project: Project):
    project.run(project.catalog())
    steps = project.plan(project.catalog())
    assert not any(step.builds for step in steps.values())
    assert set(steps) == {"tokenize", "finetune", "evaluate"}
    assert project.calls == ["mix"]


def test_a_plan_writes_nothing(project: Project):
    project.run(project.catalog())
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}
    project.plan(project.catalog(length=16, lr=0.5))
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*")} == before


def test_a_changed_parameter_is_named_with_both_values(project: Project):
    project.run(project.catalog())
    steps = project.plan(project.catalog(lr=0.002))
    assert steps["finetune"].reason == "parameter `finetune.lr` changed 0.001 -> 0.002"
    assert steps["evaluate"].reason == "`model` would be rebuilt"
    assert not steps["tokenize"].builds


def test_a_changed_parameter_is_named_as_the_configuration_calls_it(project: Project):
    project.run(project.catalog())
    steps = project.plan(project.catalog(length=16))
    assert steps["tokenize"].reason == "parameter `tokenize.length` changed 8 -> 16"
    assert steps["finetune"].reason == "`mix` would be rebuilt"


def test_a_changed_input_is_named(project: Project):
    project.run(project.catalog())
    build(project.root, "tokens", {"length": 16}, {})
    steps = project.plan(project.catalog(length=16))
    assert not steps["tokenize"].builds
    assert steps["finetune"].reason == "input `mix` changed"


def test_more_seeds_build_only_the_new_ones(project: Project):
    project.run(project.catalog(seeds=2))
    step = project.plan(project.catalog(seeds=5))["finetune"]
    assert step.reason == "2 of 5 seeds are finished"
    assert step.estimate is not None
    assert step.estimate.seconds == pytest.approx(3 * SECONDS)


def test_a_deleted_result_is_told_from_a_changed_one(project: Project):
    project.run(project.catalog(seeds=1))
    folder = next((project.root / "03_primary" / "evaluate").glob("[!.]*"))
    for file in folder.iterdir():
        file.unlink()
    assert project.plan(project.catalog(seeds=1))["evaluate"].reason == "its result was deleted"


def test_an_interrupted_stage_goes_on(project: Project):
    project.run(project.catalog(seeds=1))
    folder = next((project.root / "03_primary" / "finetune").glob("[!.]*"))
    folder.rename(folder.with_name(f"{folder.name}.partial"))
    (folder.with_name(f"{folder.name}.partial") / "record.json").unlink()
    assert "goes on where it was interrupted" in project.plan(project.catalog(seeds=1))["finetune"].reason


@pytest.mark.parametrize(
    ("changed", "times"),
    [
        ({"lr": 0.5}, 1.0),
        ({"steps": 300}, 3.0),
        ({"steps": 300, "batch": 16}, 1.5),
        ({"steps": None, "epochs": 4}, 0.08),
    ],
)
def test_time_grows_with_the_rows_that_are_trained_on(project: Project, changed: dict[str, Any], times: float):
    project.run(project.catalog(seeds=1))
    step = project.plan(project.catalog(seeds=1, **changed))["finetune"]
    assert step.estimate is not None
    assert step.estimate.seconds == pytest.approx(times * SECONDS)
    assert step.estimate.disk_gb * 2**30 >= 1024


def test_another_method_has_no_estimate(project: Project):
    project.run(project.catalog())
    assert project.plan(project.catalog(method="full"))["finetune"].estimate is None


def test_what_lies_behind_a_change_is_taken_to_cost_what_it_did(project: Project):
    project.run(project.catalog(seeds=2))
    steps = project.plan(project.catalog(seeds=4, length=16))
    assert steps["finetune"].estimate is not None
    assert steps["finetune"].estimate.seconds == pytest.approx(4 * SECONDS)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(data_root=tmp_path, device="cpu")


def test_the_sum_names_what_is_unknown(machine: Machine):
    steps = [Step("a", True, "", Estimate(90, 1, 0.5)), Step("b", True, ""), Step("c", False, "")]
    text = " ".join(summary(steps, 5, machine))
    assert "2 of 3 stages, about 90 s and 512 MB" in text
    assert "1 of them have not run here yet" in text


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (Estimate(memory_gb=1e6), "machine.micro_batch"),
        (Estimate(disk_gb=1e9), "WINNOW_DATA_ROOT"),
    ],
)
def test_a_machine_with_less_is_warned(machine: Machine, need: Estimate, said: str):
    assert said in " ".join(warnings(need, machine))
    assert not list(warnings(Estimate(), machine))
