"""Worker: which CUDA devices torch sees. Kedro's own process never loads torch."""

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from winnow.errors import MissingResource
from winnow.params import Machine
from winnow.workers.launch import launch
from winnow.workers.runtime import Worker, run


def work(worker: Worker) -> dict[str, Any]:
    """Ask torch."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"cuda": [torch.cuda.get_device_name(number) for number in range(count)]}


def device_of(machine: Machine) -> tuple[str, str]:
    """`cpu` or `cuda`, as the machine's processes will have it, and what it is called; too few of them are an error."""
    names = () if machine.device == "cpu" else _cuda_devices(machine.data_root)
    if not names and machine.device != "cuda":
        return "cpu", _cpu_name()
    if len(names) < machine.processes:
        raise MissingResource(
            f"This machine has {len(names)} CUDA {'device' if len(names) == 1 else 'devices'}; {machine.processes} "
            f"{'process needs' if machine.processes == 1 else 'processes need'} one each. Ask for fewer processes, or, "
            "to see that it runs at all, for `machine.device: cpu`."
        )
    return "cuda", ", ".join(dict.fromkeys(names[: machine.processes]))


@cache
def _cuda_devices(data_root: Path) -> tuple[str, ...]:
    if version("torch").endswith("+cpu"):
        # Known without the seconds that loading torch takes.
        return ()
    return tuple(launch("devices", {}, {}, Machine(data_root=data_root))["cuda"])


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    run(work)
