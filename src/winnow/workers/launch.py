"""Start a worker, follow its progress, and return its result or one clear error.

One process is forked from a server that has torch, transformers and peft loaded already; several go through
`accelerate launch`. Workers have their own session: an interrupt reaches them from here, once, in order.
"""

import gc
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from winnow import errors
from winnow.errors import WorkerFailed
from winnow.params import Machine
from winnow.progress import publish
from winnow.stages import Finished, Place, Work, require_build
from winnow.workers.engines import launch_options
from winnow.workers.extensions import build_missing, deepspeed_environment
from winnow.workers.failures import failed
from winnow.workers.job import LOG, PROGRESS, RESULT, Job
from winnow.workers.orders import SIDE_BY_SIDE, Order, is_alone, shared_out
from winnow.workers.runtime import parse_news, perform, threads_per_process

POLL_SECONDS = 0.1
GRACE_SECONDS = 30.0
# The others share rows among processes, each with a whole model.
TRAINS = ("finetune", "warmup", "training_cost")
# Each result holds an open file, its lock, while it is built.
AT_ONCE = 256
# Threads that wait for each other in busy loops make two jobs on one machine many times slower than one.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}


def built(stage: str, task: Mapping[str, Any], place: Place, machine: Machine) -> Finished:
    """The result of a place, which a worker builds under the name of its stage where it is not finished."""
    if place.finished() is None:
        require_build([place])
        launch_missing(stage, task, {stage: place}, machine)
    return Finished.open(place.folder)


def launch_missing(stage: str, task: Mapping[str, Any], missing: Mapping[str, Place], machine: Machine) -> None:
    """Let a worker build all results that are missing, of very many a batch at a time; nothing is started for none."""
    names = list(missing)
    size = AT_ONCE if stage in SIDE_BY_SIDE else max(1, len(names))
    for first in range(0, len(names), size):
        _launch_locked(stage, task, {name: missing[name] for name in names[first : first + size]}, machine)


def _launch_locked(stage: str, task: Mapping[str, Any], missing: Mapping[str, Place], machine: Machine) -> None:
    """Hold the locks of the results until they are there."""
    with ExitStack() as locks:
        for place in missing.values():
            locks.enter_context(Work.resume(place))
        # Another run may have finished some of them while this one waited for their locks.
        open_places = {name: place for name, place in missing.items() if place.finished() is None}
        if open_places:
            _launch_all(shared_out(stage, task, open_places, machine))


def launch(stage: str, task: Mapping[str, Any], places: Mapping[str, Place], machine: Machine) -> dict[str, Any]:
    """Run `winnow.workers.<stage>` on ``task`` and return what it answered."""
    (answer,) = _launch_all([Order(stage, task, places, machine.model_copy(update={"side_by_side": 1}))])
    return answer


def _launch_all(orders: Sequence[Order]) -> list[dict[str, Any]]:
    """Run workers beside each other and return what they answered; where one fails, the others are stopped."""
    answers: dict[int, dict[str, Any]] = {}
    with ExitStack() as running:
        started = []
        for order in orders:
            one = _Started(order)
            running.callback(one.process.stop)
            started.append(one)
        while len(answers) < len(started):
            for number, one in enumerate(started):
                if number not in answers and (exit_code := one.follow()) is not None:
                    answers[number] = _answer(one.job, one.process, exit_code)
            time.sleep(POLL_SECONDS)
        running.pop_all()
    for one in started:
        shutil.rmtree(one.job.folder, ignore_errors=True)
    return [answers[number] for number in range(len(started))]


class _Started:
    """A worker at its job."""

    def __init__(self, order: Order) -> None:
        stage, machine = order.stage, order.machine
        folder = Path(tempfile.mkdtemp(prefix=f"winnow-{stage}-"))
        own = machine if stage in TRAINS else machine.model_copy(update={"engine": "ddp", "accelerate_config": None})
        self.job = Job(stage, dict(order.task), dict(order.places), own, os.getpid(), folder)
        self.position = 0
        job_file = self.job.write()
        environment = {**os.environ, **order.environment}
        forks = _may_fork(own)
        self.process = _fork(job_file, environment) if forks else _spawn(self.job, job_file, environment)

    def follow(self) -> int | None:
        """Publish what is new; the exit code, once it has ended."""
        exit_code = self.process.poll()
        self.position = _publish_new(self.job, self.position)
        return exit_code


class _Process:
    """A started worker: how to ask whether it ended, and how to stop it with all its children."""

    def __init__(self, command: str, pid: int, poll: Callable[[], int | None]) -> None:
        self.command = command
        self.pid = pid
        self.poll = poll

    def stop(self) -> None:
        """Interrupt the worker's session; kill what does not leave in time."""
        self._signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE_SECONDS
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # It has ended, or was not yet given a session of its own.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _may_fork(machine: Machine) -> bool:
    return is_alone(machine) and machine.forkserver and sys.platform == "linux"


def _fork(job_file: Path, environment: Mapping[str, str]) -> _Process:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["winnow.workers.preloaded"])
    process = context.Process(target=_forked, args=(str(job_file), dict(environment)))
    with _unknown_main(), _patient():
        process.start()
    assert process.pid is not None
    stage = json.loads(job_file.read_text())["stage"]
    return _Process(f"python -m winnow.workers.{stage} {job_file}", process.pid, lambda: process.exitcode)


@contextmanager
def _unknown_main() -> Iterator[None]:
    """Hide the main module: a forked child would import it again, and with it all of Kedro."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _patient() -> Iterator[None]:
    """The server's OpenMP reads its environment once, when the first job starts it."""
    added = {name: value for name, value in PATIENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _forked(job_file: str, environment: dict[str, str]) -> None:
    """Runs in the forked child: own session, own log, the caller's environment, then the same entry as `python -m`."""
    path = Path(job_file)
    # What was loaded before the fork stays: collecting it again and again costs seconds.
    gc.freeze()
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    log = os.open(path.parent / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stage = json.loads(path.read_text())["stage"]
    module = importlib.import_module(f"winnow.workers.{stage}")
    sys.exit(perform(module.work, path))


def _spawn(job: Job, job_file: Path, given: Mapping[str, str]) -> _Process:
    module = ["-m", f"winnow.workers.{job.stage}", str(job_file)]
    command = [sys.executable, *module]
    # ACCELERATE_USE_CPU makes accelerate start one process, or plain DDP in place of DeepSpeed, without a word.
    environment = {**PATIENT, **{name: value for name, value in given.items() if name != "ACCELERATE_USE_CPU"}}
    if not is_alone(job.machine):
        command = [sys.executable, "-m", "accelerate.commands.launch", *launch_options(job.machine), *module]
        environment |= deepspeed_environment(job.machine)
        build_missing(job.machine, environment)
    environment["OMP_NUM_THREADS"] = str(threads_per_process(job.machine))
    with (job.folder / LOG).open("ab") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    return _Process(" ".join(command), child.pid, child.poll)


def _publish_new(job: Job, position: int) -> int:
    path = job.folder / PROGRESS
    if not path.exists():
        return position
    with path.open("rb") as file:
        file.seek(position)
        for line in file:
            if not line.endswith(b"\n"):
                break
            publish(parse_news(job.stage, line.decode()))
            position += len(line)
    return position


def _answer(job: Job, process: _Process, exit_code: int) -> dict[str, Any]:
    path = job.folder / RESULT
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "error" in content:
        raise getattr(errors, content["error"], WorkerFailed)(content["message"])
    if "result" in content and exit_code == 0:
        return dict(content["result"])
    raise failed(job, process.command, exit_code)
