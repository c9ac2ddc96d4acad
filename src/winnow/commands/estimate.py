"""What building a result would cost, guessed from results of the same kind that were built here before."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.stages import Finished, Place
from winnow.stages.finished import RECORD
from winnow.tracking.store import flatten

# Parameters that work is proportional to, and those without which two results do not compare.
_PROPORTIONAL = {"base": ("model.steps", "model.batch", "model.length"), "fabricated": ("rows",)}
_ALIKE = {
    "benchmarks": ("tasks", "num_fewshot", "task_limit"),
    "evaluate": ("decoding", "limit"),
    "finetune": ("method", "precision"),
    "gradients": ("split", "projection", "feature"),
    "scores": ("mode",),
    "base": ("model.hidden", "model.layers"),
}


@dataclass(frozen=True)
class Estimate:
    """Seconds add up over results, so does disk; memory is the peak of one."""

    seconds: float = 0.0
    memory_gb: float = 0.0
    disk_gb: float = 0.0

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            self.seconds + other.seconds, max(self.memory_gb, other.memory_gb), self.disk_gb + other.disk_gb
        )


def estimate(places: Iterable[Place], rows: int | None = None) -> Estimate | None:
    """The cost of building ``places`` from ``rows`` rows each; None where nothing like them was built here."""
    total = Estimate()
    earlier: list[Finished] | None = None
    for place in places:
        earlier = _earlier(place.folder.parent) if earlier is None else earlier
        one = _like(place, earlier, rows)
        if one is None:
            return None
        total += one
    return total


def estimate_again(parts: Iterable[Finished], count: int) -> Estimate:
    """The cost of building ``count`` results like these, where nothing is known but that they will change."""
    costs = [_cost(part, 1.0) for part in parts]
    share = count / len(costs)
    total = sum(costs, Estimate())
    return Estimate(total.seconds * share, total.memory_gb, total.disk_gb * share)


def _earlier(folder: Path) -> list[Finished]:
    return [
        Finished.open(record.parent) for record in sorted(folder.glob(f"*/{RECORD}")) if "." not in record.parent.name
    ]


def _like(place: Place, earlier: Iterable[Finished], rows: int | None) -> Estimate | None:
    """By the earlier result that shares most parameters and inputs with the new one."""
    new = flatten(place.parameters)
    best: tuple[int, Estimate] | None = None
    for finished in earlier:
        old = flatten(finished.parameters)
        share = _share_of_work(place, finished, rows)
        if share is None or not _comparable(place, finished, new, old):
            continue
        # Some values are lists: they cannot be members of a set.
        alike = sum(name in old and old[name] == value for name, value in new.items())
        shared = alike + len(place.inputs.items() & finished.inputs.items())
        if best is None or shared > best[0]:
            best = shared, _cost(finished, share)
    return best[1] if best else None


def _comparable(place: Place, finished: Finished, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    same_model = place.inputs.get("base_model") == finished.inputs.get("base_model")
    return same_model and all(new.get(name) == old.get(name) for name in _ALIKE.get(place.stage, ()))


def _share_of_work(place: Place, finished: Finished, rows: int | None) -> float | None:
    """How much longer the new one takes; None where it cannot be said."""
    if place.stage == "finetune":
        batch = place.parameters["batch"]
        steps = place.parameters["steps"]
        if steps is None:
            steps = math.ceil(rows / batch * place.parameters["epochs"]) if rows else None
        return steps * batch / (finished.summary["steps"] * finished.parameters["batch"]) if steps else None
    new, old = flatten(place.parameters), flatten(finished.parameters)
    return math.prod(new[name] / old[name] for name in _PROPORTIONAL.get(place.stage, ()))


def _cost(finished: Finished, share: float) -> Estimate:
    size = sum(file.stat().st_size for file in finished.path.rglob("*") if file.is_file())
    return Estimate(finished.cost.get("seconds", 0.0) * share, finished.cost.get("peak_memory_gb", 0.0), size / 2**30)
