"""What `kedro plan` prints."""

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from winnow.commands.doctor import existing, gpu_memory_gb, memory_gb
from winnow.commands.estimate import Estimate
from winnow.params import Machine

if TYPE_CHECKING:
    from winnow.commands.plan import Step

WIDTH = 150


def show(steps: "Sequence[Step]", nodes: int, machine: Machine) -> None:
    """A table of the stages, the sum, and a warning where the machine has less."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, WIDTH))
    table = Table("stage", "", "why", "time", "memory", "disk")
    for step in steps:
        table.add_row(step.node, "would run" if step.builds else "reused", step.reason, *_cost(step))
    console.print(table)
    for line in summary(steps, nodes, machine):
        console.print(line, highlight=False, soft_wrap=True)


def _cost(step: "Step") -> tuple[str, str, str]:
    known = step.estimate
    if known is None:
        return ("unknown" if step.builds else "", "", "")
    memory = f"{known.memory_gb:.2f} GB" if known.memory_gb else ""
    return _time(known.seconds), memory, _size(known.disk_gb)


def summary(steps: "Sequence[Step]", nodes: int, machine: Machine) -> Iterator[str]:
    """The sum of the estimates in words, and what the machine lacks."""
    building = [step for step in steps if step.builds]
    total = sum((step.estimate for step in building if step.estimate), Estimate())
    unknown = sum(step.estimate is None for step in building)
    if not building:
        yield f"All {len(steps)} stages are finished: a run only does its {nodes - len(steps)} cheap nodes anew."
        return
    rest = f"; {unknown} of them have not run here yet, their cost is unknown" if unknown else ""
    yield (
        f"{len(building)} of {len(steps)} stages, about {_time(total.seconds)} and {_size(total.disk_gb)} of disk by "
        f"what they cost before{rest}. The other {nodes - len(steps)} nodes of the run are cheap."
    )
    yield from warnings(total, machine)


def warnings(total: Estimate, machine: Machine) -> Iterator[str]:
    """Where this machine has less than the estimate."""
    gpu = gpu_memory_gb() if machine.device != "cpu" else None
    there, kind = (gpu, "GPU memory") if gpu else (memory_gb(), "memory")
    if total.memory_gb > there:
        yield (
            f"Warning: a stage needed {total.memory_gb:.1f} GB of {kind}, and there are {there:.1f} GB. "
            "Lower `machine.micro_batch`."
        )
    free = shutil.disk_usage(existing(machine.data_root)).free / 2**30
    if total.disk_gb > free:
        yield (
            f"Warning: about {_size(total.disk_gb)} will be written, and {machine.data_root} has {_size(free)} free. "
            "Move the data with WINNOW_DATA_ROOT, or lower `finetune.checkpoints`."
        )


def _time(seconds: float) -> str:
    if seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(gigabytes: float) -> str:
    if gigabytes * 1024 < 1:
        return "< 1 MB"
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{gigabytes * 1024:.0f} MB"
