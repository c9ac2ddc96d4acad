"""`kedro sweep` as a user types it: shared stages, a failing setting, tracking, and going on."""

import json

import pandas as pd
import pytest
from mlflow import MlflowClient

from support.study import Study

COMMAND = ("sweep", "finetune.lora.targets=all-linear,[q_proj],[no_such_layer]", "--env", "test", "--by", "loss")
FEW = ("--params", "finetune.steps=3,study.name=swept")


@pytest.fixture(scope="module")
def swept(study: Study) -> str:
    return study.kedro(*COMMAND, *FEW)


def table(study: Study) -> pd.DataFrame:
    (file,) = study.data.glob("08_reporting/sweeps/*/sweep.csv")
    return pd.read_csv(file).set_index("finetune.lora.targets")


def test_settings_are_ranked_and_a_failing_one_is_noted(study: Study, swept: str):
    rows = table(study)
    assert set(rows.index[:2]) == {"all-linear", "[q_proj]"}
    assert rows["rank"].tolist()[:2] == [1, 2]
    assert rows["loss"].tolist()[:2] == sorted(rows["loss"][:2])
    assert "no_such_layer" in rows.loc["[no_such_layer]", "reason"]
    assert "no_such_layer" in swept.split("[3/3]")[1]


def test_every_evaluation_of_a_sweep_is_of_validation_rows(study: Study, swept: str):
    last = json.loads((study.data / "08_reporting/arms/random/evaluation.json").read_text(encoding="utf-8"))
    validation = json.loads((study.data / "02_intermediate/validation.json").read_text(encoding="utf-8"))
    for part in last["parts"].values():
        assert part["inputs"]["table"] == validation["fingerprint"]
    assert "no held-out row is looked at" in swept


def test_each_setting_is_a_run_below_that_of_the_sweep(study: Study, swept: str):
    client = MlflowClient(study.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("swept").experiment_id])
    (parent,) = (run for run in runs if run.data.tags["winnow.kind"] == "sweep")
    assert parent.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(parent.info.run_id, "sweep")}
    assert {"sweep/sweep.csv", "sweep/sweep.png", "sweep/loss_and_accuracy.png", "sweep/summary.txt"} <= files
    settings = {
        run.data.tags["winnow.sweep.finetune.lora.targets"]: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert {value: run.info.status for value, run in settings.items()} == {
        "all-linear": "FINISHED",
        "[q_proj]": "FINISHED",
        "[no_such_layer]": "FAILED",
    }
    assert {run.data.tags["winnow.sweep"] for run in runs} == {parent.data.tags["winnow.sweep"]}
    arms = {run.data.tags["winnow.sweep.finetune.lora.targets"]: run for run in runs if run.info.run_name == "random"}
    for value in ("all-linear", "[q_proj]"):
        assert arms[value].data.metrics["evaluate/loss"] == pytest.approx(table(study).loc[value, "loss"])


def test_the_same_command_builds_nothing_again_and_ends_in_the_same_folder(study: Study, swept: str):
    marks = {path: path.stat().st_mtime_ns for path in study.data.rglob("record.json")}
    before = table(study)
    study.kedro(*COMMAND, *FEW)
    assert {path: path.stat().st_mtime_ns for path in study.data.rglob("record.json")} == marks
    pd.testing.assert_frame_equal(table(study)[["rank", "loss", "accuracy"]], before[["rank", "loss", "accuracy"]])
