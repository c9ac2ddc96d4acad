"""One relative path means one place to every stage, and to `kedro fetch`, wherever the data root is moved."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.benchmarks.nodes import gather_tasks
from pipelines.finetune.nodes import watched
from pipelines.ingest.nodes import find_raw_examples
from pipelines.targets.nodes import gather_targets
from support.benchmarks import write_gsm8k
from winnow.fetch import DataSource, data_in
from winnow.params import (
    EvaluateParams,
    FinetuneParams,
    IngestParams,
    Machine,
    SamplesParams,
    TargetSet,
    TargetsParams,
    TokenizeParams,
)
from winnow.paths import PROJECT, located
from winnow.stages import Finished

MINE = Path("data/01_raw/mine")
NOTHING = Finished("split", "", Path())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A data root that is not called `data`, and a command typed somewhere else."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return Machine(data_root=tmp_path / "big", device="cpu")


def ingested(machine: Machine) -> None:
    found = find_raw_examples(IngestParams(folder=MINE), machine)
    assert found.summary["folder"] == "01_raw/mine"


def evaluated(machine: Machine) -> None:
    params = EvaluateParams(tasks=["gsm8k"], data={"gsm8k": MINE}, include_path=MINE / "tasks")
    assert gather_tasks(params, IngestParams(), machine).summary["rows"]["gsm8k"]["test"]


def targeted(machine: Machine) -> None:
    target = TargetSet(files=str(MINE / "train.jsonl"))
    assert gather_targets(NOTHING, TargetsParams(sets={"mine": target}), machine).scan().collect().height


def sampled(machine: Machine) -> None:
    params = FinetuneParams(samples=SamplesParams(files=[str(MINE / "t*.jsonl")]))
    assert {prompt["group"] for prompt in watched(params, TokenizeParams(), machine)["prompts"]} == {"train", "test"}


@pytest.mark.parametrize("used", [ingested, evaluated, targeted, sampled])
def test_what_is_fetched_is_found_by_every_stage(machine: Machine, used: Callable[[Machine], None]):
    (item,) = data_in([DataSource(repo="a/b", to=MINE)], machine.data_root)
    assert item.to == machine.data_root / "01_raw" / "mine"
    write_gsm8k(item.to)
    (item.to / "tasks").mkdir()
    (item.to / "tasks" / "own.yaml").write_text(json.dumps({"task": "own"}))
    used(machine)


def test_other_places_are_the_projects_or_where_they_say(tmp_path: Path):
    assert located("rows/mine", tmp_path) == PROJECT / "rows" / "mine"
    assert located("./data/x", tmp_path) == tmp_path / "x"
    assert located("database/x", tmp_path) == PROJECT / "database" / "x"
    assert located("/data/x", tmp_path) == Path("/data/x")
    assert located("~/x", tmp_path) == Path.home() / "x"
    assert located("data/x", PROJECT / "data") == PROJECT / "data" / "x"
