"""A worker that fails is one clear error; one that is not what was promised refuses to work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.tiny import Tiny
from winnow.errors import MissingResource, WorkerFailed
from winnow.params import EvaluateParams, Machine
from winnow.workers.failures import failed
from winnow.workers.job import LOG, RESULT, Job
from winnow.workers.launch import launch
from winnow.workers.runtime import Worker, perform

MACHINE = {"device": "cpu", "threads": 1}


def machine(root: Path, **values: object) -> Machine:
    return Machine.model_validate({"data_root": root, **MACHINE, **values})


def test_a_crash_tells_the_command_the_exit_code_and_the_last_lines(tmp_path: Path):
    with pytest.raises(WorkerFailed) as raised:
        launch("evaluate", {"params": {}}, {}, machine(tmp_path))
    message = str(raised.value)
    assert "winnow.workers.evaluate" in message
    assert "exit code 1" in message
    assert "KeyError: 'base_model'" in message


SAID = """Loading weights: 100%
[rank1]: Traceback (most recent call last):
[rank1]: FileNotFoundError: [Errno 2] No such file or directory: 'cost.json'
[rank0]: Traceback (most recent call last):
[rank0]: RuntimeError: Connection closed by peer [127.0.0.1]:947.
"""
REPORTED = """E1122 09:59:07 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: {1})
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 24992)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  time      : 2026-11-22_09:59:07
  rank      : {0} (local_rank: {0})
  exitcode  : {1} (pid: 24993)
"""


def quoted(folder: Path, log: str) -> str:
    (folder / LOG).write_text(log)
    return str(failed(Job("evaluate", {}, {}, machine(folder, processes=2), os.getpid(), folder), "python", 1))


def test_of_several_processes_the_one_that_failed_first_is_quoted(tmp_path: Path):
    message = quoted(tmp_path, SAID + REPORTED.format(1, 1))
    assert "Process 1 failed first, with exit code 1." in message
    assert message.endswith("\n".join(SAID.splitlines()[:3]))


def test_where_the_process_that_failed_first_said_nothing_the_others_are_quoted(tmp_path: Path):
    message = quoted(tmp_path, SAID + REPORTED.format(2, -11))
    assert "Process 2 failed first, with exit code -11." in message
    assert message.endswith(SAID.strip())


def test_a_users_mistake_keeps_its_class_and_its_words(tiny: Tiny, tmp_path: Path):
    task = {"params": EvaluateParams().model_dump(mode="json"), "base_model": str(tiny.base.path)}
    with pytest.raises(MissingResource, match=r"machine\.device: auto"):
        launch("evaluate", with_questions(tiny, task), {}, machine(tmp_path, device="cuda"))


def with_questions(tiny: Tiny, task: dict[str, object]) -> dict[str, object]:
    table = tiny.held_out.path / "held_out.parquet"
    return {**task, "table": str(table), "template": None, "max_length": 2048, "models": {}}


def test_a_worker_refuses_another_number_of_processes_than_promised(tmp_path: Path):
    job = Job("evaluate", {}, {}, machine(tmp_path, processes=2), os.getpid(), tmp_path)
    assert perform(lambda _: {}, job.write()) == 1
    answer = json.loads((tmp_path / RESULT).read_text())
    assert answer["error"] == "WorkerFailed"
    assert "promised 2 processes and got 1" in answer["message"]


def test_a_worker_leaves_when_its_launcher_is_gone(tmp_path: Path):
    job = Job("evaluate", {}, {}, machine(tmp_path), 2**22 - 1, tmp_path)
    code = (
        "import time; from pathlib import Path; from winnow.workers.runtime import perform\n"
        f"perform(lambda _: time.sleep(300), Path({str(job.write())!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert done.returncode == 130


def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    ask = [sys.executable, "-c", "from winnow.workers.runtime import _peak_resident_kb; print(_peak_resident_kb())"]
    held = bytearray(os.urandom(1 << 20)) * 512
    done = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=True)
    assert len(held) > 300 * 2**20 > int(done.stdout) * 2**10


def test_only_the_main_process_reports(tmp_path: Path):
    job = Job("evaluate", {}, {}, machine(tmp_path), os.getpid(), tmp_path)
    Worker(job, rank=1, world_size=2).report(done=1)
    assert not (tmp_path / "progress.jsonl").exists()
    Worker(job, rank=0, world_size=2).report(done=1)
    assert json.loads((tmp_path / "progress.jsonl").read_text()) == {"done": 1}


def test_the_forked_worker_does_not_import_the_launchers_main_module(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\nPath(sys.argv[1]).open('a').write('main imported\\n')\n"
        "from winnow.errors import WorkerFailed\nfrom winnow.params import Machine\n"
        "from winnow.workers.launch import launch\n"
        "try:\n    launch('evaluate', {}, {}, Machine(data_root='.', threads=1))\nexcept WorkerFailed:\n    pass\n"
    )
    log = tmp_path / "log"
    subprocess.run([sys.executable, str(program), str(log)], check=True, timeout=300)
    assert log.read_text() == "main imported\n"
