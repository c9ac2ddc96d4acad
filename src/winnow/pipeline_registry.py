"""The names that `kedro run --pipeline` knows: every stage, every arm, and groups of arms.

A name always brings all its ancestors, from the raw files on, so it works on a fresh clone; what is finished is reused.
"""

from collections.abc import Iterable
from functools import cached_property

from kedro.pipeline import Pipeline

from pipelines import benchmarks, compare_parallelism, evaluate, leave_out, report, verify
from pipelines.arms import BASELINE, PARETO, SHOWN_WITH, in_rounds
from pipelines.configured import Configured
from pipelines.requested import requested_arms
from pipelines.stages import (
    Stages,
    add_selections,
    later_rounds,
    shared_stages,
    tail_of,
    union,
    with_ancestors,
)
from winnow.registration import parameters

# Arms whose losses on the targets are what gains are counted from; that of later rounds has its own.
REFERENCES = ("random", "all")


def register_pipelines() -> dict[str, Pipeline]:
    """Build all pipelines; what is compared depends on the configuration and on the command."""
    project = _Project(Configured(parameters()))
    requested = requested_arms()
    compared = project.configured.compared(requested)
    registered = project.stages() | project.arm_pipelines | project.proofs() | project.groups()
    # Kedro runs the union of what is named: each arm that was asked for stands for all of them, and their comparison.
    return registered | dict.fromkeys(("study", "report", "__default__", *requested), project.comparison(compared))


class _Project:
    """All stages and arms that a configuration has, and the pipelines that are made of them."""

    def __init__(self, configured: Configured) -> None:
        self.configured = configured
        self.arms = configured.arms()
        self.shared = shared_stages(configured)
        self.later = later_rounds(configured, self.shared)
        self.tails = {name: tail_of(arm, configured) for name, arm in self.arms.items()}
        references = [evaluate.create_target_pipeline(name) for name in REFERENCES] if configured.has_matrix else []
        own = [stage for tail in self.tails.values() for stage in tail.values()]
        everything = union([*self.shared.values(), *own, *self.later.values(), *references])
        self.everything = add_selections(self.arms, self.tails, everything)

    def _whole(self, part: Pipeline) -> Pipeline:
        return with_ancestors(self.everything, part)

    def _added(self, part: Pipeline) -> Pipeline:
        """What nothing else needs, and all that leads to it."""
        return with_ancestors(self.everything + part, part)

    def stages(self) -> Stages:
        """Each stage by its name; those of arms for all arms together."""
        found = {name: self._whole(stage) for name, stage in (self.shared | self.later).items()}
        for stage in ("mixture", "finetune", "evaluate", *(["benchmarks"] if self.configured.asking.tasks else [])):
            found[stage] = self._whole(union(tail[stage] for tail in self.tails.values() if stage in tail))
        return found

    def _one_round(self, name: str) -> Pipeline:
        """An arm, and what its user wants to see."""
        arm = self.arms[name]
        shown = [self.shared[stage] for stage in SHOWN_WITH.get(arm.strategy, ())]
        shown += [self.later[arm.before[:-1]]] if arm.round > 1 else []
        return self._whole(union([*self.tails[name].values(), *shown]))

    @cached_property
    def arm_pipelines(self) -> Stages:
        """Each arm by its name, with its later rounds."""
        count = self.configured.study.rounds
        rounds = {name: self._one_round(name) for name in self.arms}
        return {name: union(rounds[own] for own in in_rounds((name,), count)) for name in self.arms}

    def proofs(self) -> Stages:
        """What holds selections and estimates to something else: each by itself, and all as `verify`."""
        configured = self.configured
        names = configured.verified()
        checks = union(
            [*map(verify.create_arm_pipeline, names), verify.create_pipeline(names, configured.is_fabricated)]
        )
        found = {"verify_selections": self._added(checks)}
        if configured.has_matrix:
            found["leave_out"] = self._added(leave_out.create_pipeline())
        return {**found, "verify": union([*found.values(), self._whole(self.shared["datamodels"])])}

    def groups(self) -> Stages:
        """Arms that are compared with each other, and the cost table."""
        found = {"compare_parallelism": self._added(compare_parallelism.create_pipeline(self.configured.costs))}
        found["baseline"] = union(self.arm_pipelines[name] for name in BASELINE)
        if self.configured.has_matrix:
            controls = ("random", "all") if self.arms[PARETO[0]].size == "full" else ("random",)
            names = in_rounds((*controls, *PARETO), self.configured.study.rounds)
            found["pareto_reweighting"] = self.comparison(names)
        return found

    def comparison(self, names: Iterable[str]) -> Pipeline:
        """These arms, and what is made of all of them together."""
        specs = tuple(self.arms[name] for name in names)
        with_tasks = bool(self.configured.asking.tasks)
        whole = union(self.arm_pipelines[spec.name] for spec in specs)
        whole += report.create_pipeline(specs, self.configured.study.rounds_by)
        whole += report.create_page_pipeline(specs, with_tasks=with_tasks)
        if with_tasks:
            whole += self._whole(self.tails["base"]["benchmarks"])
            whole += benchmarks.create_comparison_pipeline(tuple(spec.name for spec in specs))
        return whole
