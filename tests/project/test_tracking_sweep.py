"""How the run of a sweep ends, and which runs are labelled with it."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from winnow.tracking import SweepRun, track_sweep
from winnow.tracking.hooks import _names, _tags
from winnow.tracking.store import Store

VALUES = {"finetune.lr": 0.1, "finetune.lora.targets": ["q_proj"]}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.mark.parametrize(
    ("raised", "status"), [(None, "FINISHED"), (KeyboardInterrupt, "KILLED"), (ZeroDivisionError, "FAILED")]
)
def test_a_sweep_ends_as_it_deserves(uri: str, tmp_path: Path, raised: type[BaseException] | None, status: str):
    def work() -> None:
        with track_sweep(uri, tmp_path, "study", "abc", {"sweep.arm": "random"}) as run:
            ids.append(run.run)
            if raised:
                raise raised

    ids: list[str] = []
    if raised:
        with pytest.raises(raised):
            work()
    else:
        work()
    found = MlflowClient(uri).get_run(ids[0])
    assert found.info.status == status
    assert found.data.tags["winnow.sweep"] == "abc"
    assert found.data.params["sweep.arm"] == "random"


def test_only_runs_of_the_setting_carry_its_labels(uri: str, tmp_path: Path):
    run = SweepRun("abc", Store(uri, tmp_path, "study"), "parent")
    with run.setting(VALUES):
        assert _names == ["finetune.lr=0.1,finetune.lora.targets=[q_proj]"]
        assert _tags["winnow.sweep.finetune.lora.targets"] == "[q_proj]"
        assert _tags["mlflow.parentRunId"] == "parent"
    assert not _names
    assert not _tags


def test_without_tracking_nothing_is_labelled(tmp_path: Path):
    with SweepRun().setting(VALUES):
        assert not _tags
    SweepRun().log(tmp_path, {"sweep/pearson": 1.0})
