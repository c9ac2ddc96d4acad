"""The C++ that DeepSpeed compiles at first use: built once, by one process, in a folder that outlives a clone.

python -m winnow.workers.extensions cpu_adam
"""

import fcntl
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from winnow.errors import MissingResource
from winnow.params import Machine
from winnow.progress import News, publish

FOLDER = "TORCH_EXTENSIONS_DIR"
STALE_SECONDS = 900
# By the name of the folder that torch builds in: where DeepSpeed has its builder.
BUILDERS = {
    "deepspeed_shm_comm": ("deepspeed.ops.op_builder.cpu", "ShareMemCommBuilder"),
    "cpu_adam": ("deepspeed.ops.op_builder", "CPUAdamBuilder"),
}


def deepspeed_environment(machine: Machine) -> dict[str, str]:
    """DeepSpeed must find the build tools, and the folder."""
    if not machine.engine.startswith("zero"):
        return {}
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "winnow"
    versions = "-".join(f"{name}-{version(name)}" for name in ("torch", "deepspeed"))
    environment[FOLDER] = os.environ.get(FOLDER, str(cache / versions))
    if _has_cpu_alone(machine):
        environment["DS_ACCELERATOR"] = "cpu"
    return environment


def _has_cpu_alone(machine: Machine) -> bool:
    return machine.device == "cpu" or (machine.device == "auto" and version("torch").endswith("+cpu"))


def build_missing(machine: Machine, environment: Mapping[str, str]) -> None:
    """Build what the engine needs, so that its processes find it."""
    if not machine.engine.startswith("zero"):
        return
    needed = ["deepspeed_shm_comm"] if _has_cpu_alone(machine) else []
    needed += ["cpu_adam"] if machine.engine.endswith("offload") else []
    folder = Path(environment[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "winnow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in needed if not list((folder / name).glob("*.so"))]
        for name in needed:
            _remove_stale(folder / name / "lock", name in missing)
        if missing:
            _build(missing, environment)


def _remove_stale(lock: Path, unfinished: bool) -> None:
    """A build that was killed leaves a lock for which torch would wait for ever."""
    if lock.exists() and (unfinished or time.time() - lock.stat().st_mtime > STALE_SECONDS):
        lock.unlink()


def _build(names: list[str], environment: Mapping[str, str]) -> None:
    publish(News("extensions", message=f"DeepSpeed compiles {', '.join(names)}, once on this machine: minutes"))
    command = [sys.executable, "-m", "winnow.workers.extensions", *names]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).splitlines()[-10:])
        raise MissingResource(
            f"DeepSpeed cannot compile {', '.join(names)}, which this engine needs. It takes g++ (Debian: `apt-get "
            f"install g++`) and ninja; without them choose `machine.engine` ddp or fsdp. The compiler said:\n{last}"
        )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        module, builder = BUILDERS[name]
        getattr(importlib.import_module(module), builder)().load()
