"""The finished stages that there are, the commands that make the others, and which were made from other data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from winnow.errors import MissingResource, StaleOutput
from winnow.influence.ranking import Aggregate
from winnow.stages import Finished, FinishedParts

# The pipeline that makes each.
MADE_BY = {
    "examples": "ingest",
    "rejects": "ingest",
    "train": "split",
    "validation": "split",
    "held_out": "split",
    "duplicates": "split",
    "tokens": "tokenize",
    "losses": "trajectories",
    "clusters": "clusters",
    "scores": "influence",
    "rds_scores": "rds_scores",
    "bm25_scores": "bm25_scores",
    "row_scores": "row_scores",
    "selector_quality": "select_moe_score",
    "influence_matrix": "influence_matrix",
}
# Only generated data have it, and then it comes with them.
PLANTED = "planted"
# Its rows went through the selector's own tokenizer, which has the same name among its inputs.
_OF_ANOTHER_TOKENIZER = "selector_quality"


@dataclass(frozen=True)
class Missing:
    """A dataset that is not there, or is of other data; and what makes it."""

    dataset: str
    command: str
    outdated: str | None = None


@dataclass(frozen=True)
class Results:
    """Handles by the names of their datasets, and the arms' training mixes.

    ``aggregate`` says how a target's subtasks become one gradient score.
    """

    found: Mapping[str, Finished | FinishedParts]
    mixes: Mapping[str, pl.LazyFrame]
    aggregate: Aggregate = "max"

    def get(self, name: str) -> Finished | None:
        """The one handle of this name."""
        handle = self.found.get(name)
        assert not isinstance(handle, FinishedParts)
        return handle

    def need(self, name: str) -> Finished:
        """The same, where nothing can be said without it."""
        if (handle := self.get(name)) is None:
            raise MissingResource(f"There is no `{name}` yet. Make it with `{_command(name)}` first.")
        return handle

    def lacking(self, *names: str) -> list[Missing]:
        """Which of these are not there, or were made from something else than what is there now."""
        missing = [Missing(name, _command(name)) for name in names if name not in self.found]
        outdated = ((name, self._outdated(name)) for name in names)
        return [*missing, *(Missing(name, _command(name), source) for name, source in outdated if source)]

    def _outdated(self, name: str) -> str | None:
        handle = self.found.get(name)
        if not isinstance(handle, Finished) or name == _OF_ANOTHER_TOKENIZER:
            return None
        known = (source for source in handle.inputs if source in self.found)
        return next((source for source in known if handle.inputs[source] != self.found[source].fingerprint), None)


def open_results(
    load: Callable[[str], Any], mixes: Mapping[str, pl.LazyFrame], aggregate: Aggregate = "max"
) -> Results:
    """Open what is there; ``load`` is `catalog.load`. Records are read, and no table yet."""
    found = {}
    for name in (*MADE_BY, PLANTED):
        try:
            found[name] = load(name)
        except Exception as error:
            # Kedro's catalog wraps what a dataset raises.
            if not isinstance(error, StaleOutput) and not isinstance(error.__cause__, StaleOutput):
                raise
    return Results(found, mixes, aggregate)


def _command(name: str) -> str:
    return f"kedro run --pipelines {MADE_BY[name]}"
