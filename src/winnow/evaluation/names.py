"""Benchmark tasks by their names: local ones, the user's own, and lm-eval's."""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from winnow.errors import BadSetting


def find_tasks(names: Collection[str], places: Sequence[Path], metadata: dict[str, Any] | None = None) -> TaskManager:
    """An index of the tasks in these folders; of lm-eval's too where a name is in none of them, which takes seconds."""
    folders = [str(place) for place in places]
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)
    if set(names) <= set(manager.all_tasks):
        return manager
    manager = TaskManager(include_path=folders, metadata=metadata)
    for name in names:
        if name not in manager.all_tasks:
            near = difflib.get_close_matches(name, manager.all_tasks, 3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise BadSetting(
                f"`evaluate.tasks` names {name!r}, which is no task of `evaluate.data`, of `evaluate.include_path`, or "
                f"of lm-eval.{hint}"
            )
    return manager
