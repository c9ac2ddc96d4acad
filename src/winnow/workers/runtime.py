"""The worker's side of a job: start-up, rank and world size, progress, result, and errors a user can read."""

import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow import errors
from winnow.errors import WinnowError, WorkerFailed
from winnow.params import Machine
from winnow.progress import News
from winnow.workers.job import PROGRESS, RESULT, Job
from winnow.workers.memory import is_out_of_memory, out_of_memory

INTERRUPTED = 130


@dataclass
class Worker:
    """One process of a job. Rank 0 reports."""

    job: Job
    rank: int
    world_size: int

    @property
    def is_main(self) -> bool:
        """Whether this process speaks for the job."""
        return self.rank == 0

    def report(self, **news: Any) -> None:
        """Append one line of `winnow.progress.News` for the launcher."""
        if self.is_main:
            line = json.dumps({**news}, ensure_ascii=False)
            with (self.job.folder / PROGRESS).open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def device(self) -> str:
        """The accelerator of this process."""
        import torch

        if self.job.machine.device == "cpu" or not torch.cuda.is_available():
            if self.job.machine.device == "cuda":
                raise errors.MissingResource(
                    "machine.device is cuda, but torch sees no CUDA device. Set `machine.device: auto` (conf/base), "
                    "or install a CUDA build of torch; `kedro doctor` shows which one is there."
                )
            return "cpu"
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
        return device

    def barrier(self) -> None:
        """Wait for the job's other processes."""
        if self.world_size > 1:
            from torch import distributed

            if not distributed.is_initialized():
                distributed.init_process_group("nccl" if self.device() != "cpu" else "gloo")
            distributed.barrier()


def peak_memory_gb() -> float:
    """Peak memory of this process: of the accelerator where there is one, else resident memory."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    return _peak_resident_kb() / 2**20


def _peak_resident_kb() -> int:
    """`getrusage` would count what the launcher held when it started this process."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak_memory() -> None:
    """Measure the accelerator's peak anew from here; resident memory knows only the peak of the whole process."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def free_memory() -> None:
    """Let go of what is held in circles alone, such as a trainer and its callbacks."""
    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def threads_per_process(machine: Machine) -> int:
    """Threads each process may use: as said, or an even share of the cores."""
    return machine.threads or max(1, (os.cpu_count() or 1) // machine.processes)


def run(work: Callable[[Worker], dict[str, Any]], arguments: list[str] | None = None) -> None:
    """Entry point of every worker module: read the job, do ``work``, leave `result.json`."""
    job_file = Path((arguments or sys.argv[1:])[0])
    sys.exit(perform(work, job_file))


def perform(work: Callable[[Worker], dict[str, Any]], job_file: Path) -> int:
    """Do one job in this process and return its exit code."""
    job = Job.read(job_file)
    threading.Thread(target=_leave_with, args=(job.launcher, os.getppid()), daemon=True).start()
    import torch

    torch.set_num_threads(threads_per_process(job.machine))
    worker = Worker(job, int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    try:
        if worker.world_size != job.machine.processes:
            raise WorkerFailed(
                f"{job.stage} was promised {job.machine.processes} processes and got "
                f"{worker.world_size}: the launcher's configuration does not start them. Look at "
                "`machine.accelerate_config`, or set `machine.processes: 1`."
            )
        answer: dict[str, Any] = {"result": work(worker)}
    except WinnowError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        answer = {"error": "OutOfMemory", "message": out_of_memory(job, error)}
    except KeyboardInterrupt:
        return INTERRUPTED
    if worker.is_main or "error" in answer:
        scratch = job.folder / f"{RESULT}.{worker.rank}"
        scratch.write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")
        os.replace(scratch, job.folder / RESULT)
    return 1 if "error" in answer else 0


def parse_news(stage: str, line: str) -> News:
    """Read one line of `progress.jsonl`."""
    return News(stage=stage, **json.loads(line))


def _leave_with(launcher: int, parent: int) -> None:
    """End this process when its launcher is gone, or what it started this with: a kill leaves no worker behind."""
    while _is_alive(launcher) and os.getppid() == parent:
        time.sleep(1)
    os._exit(INTERRUPTED)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
