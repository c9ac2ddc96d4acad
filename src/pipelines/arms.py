"""Every way to choose data, one line each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Size = Literal["none", "budget", "full"]


@dataclass(frozen=True)
class ArmSpec:
    """An arm: the strategy that weighs the pool, how much of it is trained on, and what it is measured against."""

    name: str
    strategy: str
    choice: str = ""
    size: Size = "budget"
    controls: tuple[str, ...] = ("random",)


_ARMS = (
    ArmSpec("base", "none", size="none", controls=()),
    ArmSpec("all", "all", size="full"),
    ArmSpec("random", "random", controls=()),
    ArmSpec("length", "length", choice="validation_lengths"),
    ArmSpec("s2l", "s2l", choice="loss_clusters"),
    ArmSpec("less", "less", choice="all"),
    ArmSpec("pareto_balanced", "pareto", choice="balanced"),
    ArmSpec("pareto_knee", "pareto", choice="knee"),
    ArmSpec("pareto_conservative", "pareto", choice="conservative"),
    ArmSpec("pareto_weighted", "pareto", choice="weighted"),
    ArmSpec("pareto_closed_form", "pareto", choice="closed_form"),
    ArmSpec("pareto_additive", "pareto", choice="additive"),
    ArmSpec("random_beta", "pareto", choice="random_beta"),
)
# Arms for one target, by what their names begin with: the strategy, and what its choice begins with.
ONE_TARGET = {"less_": ("less", ""), "pareto_best_": ("pareto", "best_")}


def target_of(name: str) -> str | None:
    """The target in the name of an arm for one target."""
    return next((name.removeprefix(start) for start in ONE_TARGET if name.startswith(start)), None)


class _Arms(Mapping[str, ArmSpec]):
    """All arms by name; those for one target are there for any, and not listed."""

    def __getitem__(self, name: str) -> ArmSpec:
        for start, (strategy, choice) in ONE_TARGET.items():
            if name.startswith(start):
                return ArmSpec(name, strategy, choice=choice + name.removeprefix(start))
        return {arm.name: arm for arm in _ARMS}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([arm.name for arm in _ARMS])

    def __len__(self) -> int:
        return len(_ARMS)


ARMS = _Arms()
BASELINE = ("base", "all", "random", "length")
# By strategy: stages with figures and files that nothing in the arm's tail needs, but its user wants to see.
SHOWN_WITH: dict[str, tuple[str, ...]] = {
    "s2l": ("clusters",),
    "less": ("influence",),
    "pareto": ("influence_matrix", "pareto"),
}
