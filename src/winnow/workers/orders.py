"""Which workers build what, on which part of the machine: results that need nothing of each other go side by side."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from winnow.params import Machine
from winnow.stages import Place
from winnow.workers.runtime import threads_per_process

# Results that need nothing of each other: of models by themselves, or of a pass with one checkpoint each.
SIDE_BY_SIDE = ("finetune", "evaluate", "benchmarks", "trajectories", "gradients", "direct")
# What a task says of each of its results, by name. Mixes are long: no worker is told those of another.
_OF_EACH = ("mixes", "seeds")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Order:
    """What one worker is to do, and what its environment has beside the launcher's."""

    stage: str
    task: Mapping[str, Any]
    places: Mapping[str, Place]
    machine: Machine
    environment: Mapping[str, str] = field(default_factory=dict)


def shared_out(stage: str, task: Mapping[str, Any], places: Mapping[str, Place], machine: Machine) -> list[Order]:
    """An order for each of the workers side by side: its results, what the task says of them, its part of the machine.

    Its threads do not depend on how many results are missing: their number decides the last bits.
    """
    devices = visible_devices(os.environ, _cuda_devices())
    count = workers_at_once(machine, devices) if stage in SIDE_BY_SIDE and is_alone(machine) else 1
    shares = _shares(stage, places, count)
    own = machine.model_copy(update={"side_by_side": len(shares)})
    if count > 1:
        threads = machine.threads or max(1, threads_per_process(machine) // count)
        own = own.model_copy(update={"threads": threads})
    return [
        Order(stage, _told_of(task, share), share, own, one_device(number, devices) if len(shares) > 1 else {})
        for number, share in enumerate(shares)
    ]


def _shares(stage: str, places: Mapping[str, Place], count: int) -> list[dict[str, Place]]:
    """At most ``count``, in turn; the stores of a checkpoint, `<step>@<dim>`, are filled in one pass."""
    passes: dict[str, dict[str, Place]] = {}
    for name, place in places.items():
        passes.setdefault(name.split("@")[0] if stage == "gradients" else name, {})[name] = place
    work = list(passes.values())
    return [
        {name: place for one in work[first::count] for name, place in one.items()}
        for first in range(min(count, len(work)))
    ]


def is_alone(machine: Machine) -> bool:
    """Whether one process does without a launcher."""
    return machine.processes == 1 and machine.engine == "ddp"


def workers_at_once(machine: Machine, devices: Sequence[str]) -> int:
    """As many as asked for, but no more than CUDA devices where these are used: two on one would share its memory."""
    on_cuda = machine.device != "cpu" and len(devices) > 0
    return min(machine.side_by_side, len(devices)) if on_cuda else machine.side_by_side


def visible_devices(environment: Mapping[str, str], count: int) -> list[str]:
    """Those of ``count`` CUDA devices that a worker would see; as in CUDA, an empty name or -1 ends the list."""
    given = environment.get(_VISIBLE)
    if given is None:
        return [str(number) for number in range(count)]
    return list(takewhile(lambda name: name not in ("", "-1"), map(str.strip, given.split(","))))


def one_device(number: int, devices: Sequence[str]) -> dict[str, str]:
    """The environment of a worker that sees one of the devices; where there are none, nothing is changed."""
    return {_VISIBLE: devices[number % len(devices)]} if devices else {}


def _cuda_devices() -> int:
    """How many there are; this process asks no driver."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _told_of(task: Mapping[str, Any], places: Mapping[str, Place]) -> dict[str, Any]:
    return {**task, **{key: {name: task[key][name] for name in places} for key in _OF_EACH if key in task}}
