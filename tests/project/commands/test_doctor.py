"""`kedro doctor`: one finding per thing, a remedy where something is missing, and an exit code that says so."""

import importlib.metadata
import json

import pytest
from kedro.framework.startup import bootstrap_project

from support.study import PROJECT, Study
from winnow.commands import doctor


@pytest.fixture(autouse=True)
def _project() -> None:
    bootstrap_project(PROJECT)


def test_the_examination_is_complete_and_finds_this_machine_fit(tmp_path):
    findings = {one["what"]: one for one in json.loads(Study(tmp_path).kedro("doctor", "--json"))}
    expected = {"python", "torch", "mlflow", "accelerator", "cores", "memory", "disk", "tracking store", "faiss", "g++"}
    assert expected <= set(findings)
    assert findings["torch"]["found"] == importlib.metadata.version("torch")
    assert str(tmp_path) in findings["tracking store"]["found"]
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_the_range_that_is_needed(monkeypatch: pytest.MonkeyPatch):
    there = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "highspy" else there(name))
    finding = next(one for one in doctor.packages() if one.what == "highspy")
    assert finding.found == "missing"
    assert "make install" in finding.remedy
    assert "highspy<" in finding.remedy


def test_a_version_out_of_range_is_found(monkeypatch: pytest.MonkeyPatch):
    there = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "4.0.0" if name == "transformers" else there(name))
    finding = next(one for one in doctor.packages() if one.what == "transformers")
    assert finding.found == "4.0.0"
    assert finding.remedy


def test_what_is_needed_and_missing_makes_the_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys):
    missing = doctor.Finding("disk", "1 GB free", "free some")
    monkeypatch.setattr(doctor, "EXAMINATIONS", (lambda: [missing],))
    with pytest.raises(SystemExit) as exit_:
        doctor.doctor(as_json=True)
    assert exit_.value.code == 1
    assert json.loads(capsys.readouterr().out)[0]["remedy"] == "free some"


@pytest.mark.parametrize(("gpu", "remedy"), [(None, ""), ("nvidia-smi", "constraints.txt")])
def test_a_gpu_that_torch_cannot_use_is_found(monkeypatch: pytest.MonkeyPatch, gpu: str | None, remedy: str):
    monkeypatch.setattr(doctor, "_version", lambda name: "2.13.0+cpu")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: gpu)
    finding = doctor.accelerator()[0]
    assert remedy in finding.remedy
    assert bool(finding.remedy) == bool(gpu)


def test_what_is_only_useful_does_not(monkeypatch: pytest.MonkeyPatch, capsys):
    useful = doctor.Finding("ninja", "missing", "apt-get install ninja-build", needed=False)
    monkeypatch.setattr(doctor, "EXAMINATIONS", (lambda: [useful],))
    doctor.doctor(as_json=False)
    assert "ninja-build" in capsys.readouterr().out


def test_a_tracking_server_that_does_not_answer_is_found_and_its_password_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1:9/mlflow?connect_timeout=1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    finding = doctor.tracking()[0]
    assert "not reachable" in finding.found
    assert "MLFLOW_TRACKING_URI" in finding.remedy
    assert "secret" not in finding.found
