"""Worker: influence of clusters on domains, from stores of features."""

import time
from pathlib import Path
from typing import Any

from winnow.errors import BadInput
from winnow.gradients.store import FeatureStore, require_comparable, require_data
from winnow.influence.groups import read_groups
from winnow.influence.matrix import InfluenceMatrix, common_ids
from winnow.stages import Work
from winnow.workers.runtime import Worker, peak_memory_gb, run


def work(worker: Worker) -> dict[str, Any]:
    """Read the checkpoints' stores one after the other, and seal the cells."""
    start = time.monotonic()
    task = worker.job.task
    sides = {
        step: tuple(FeatureStore(Path(task[side][step])) for side in ("train", "targets")) for step in task["weights"]
    }
    for train, targets in sides.values():
        require_comparable(train, targets)
        require_data(train, task["data"]["train"])
        require_data(targets, task["data"]["targets"])
    known = common_ids([train for train, _ in sides.values()])
    checked = common_ids([targets for _, targets in sides.values()])
    groups = read_groups(Path(task["groups"]), task["by"])
    clusters = {name: group for name, group in groups.items() if name in known}
    domains = {name: domain for name, domain in task["domains"].items() if name in checked}
    if not clusters:
        raise BadInput(
            f"None of the {len(groups)} examples in {task['groups']} is a training example with a gradient. Its ids "
            "are those of the table `train`: <subset>/<file>:<record>."
        )
    if lost := sorted(set(task["domains"].values()) - set(domains.values())):
        raise BadInput(
            f"The target {lost[0]!r} has no row with a gradient, so nothing can be said of it. Leave it out of "
            "`targets.sets`, or look for its rows in influence_diagnostics.csv."
        )
    matrix = InfluenceMatrix(clusters, domains, task["normalize"])
    for number, (step, (train, targets)) in enumerate(sides.items()):
        worker.report(done=number, total=len(sides), unit="checkpoints", message=f"checkpoint {step}")
        matrix.add(train, targets, task["weights"][step])
    target = Work(worker.job.places["influence_matrix"])
    tables = target.commit_tables({"cells": matrix.cells(), "groups": matrix.groups(), "rows": matrix.rows()})
    target.finish(
        {"tables": tables, "left_out": len(groups) - matrix.examples.height},
        {"seconds": time.monotonic() - start, "peak_memory_gb": peak_memory_gb()},
    )
    return {}


if __name__ == "__main__":
    run(work)
