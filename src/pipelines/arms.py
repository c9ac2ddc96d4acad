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
)
# `less_<target>` is `less` for one target.
ONE_TARGET = "less_"


class _Arms(Mapping[str, ArmSpec]):
    """All arms by name; those for one target are there for any, and not listed."""

    def __getitem__(self, name: str) -> ArmSpec:
        if name.startswith(ONE_TARGET):
            return ArmSpec(name, "less", choice=name.removeprefix(ONE_TARGET))
        return {arm.name: arm for arm in _ARMS}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([arm.name for arm in _ARMS])

    def __len__(self) -> int:
        return len(_ARMS)


ARMS = _Arms()
BASELINE = ("base", "all", "random", "length")
# By strategy: stages with figures and files that nothing in the arm's tail needs, but its user wants to see.
SHOWN_WITH: dict[str, tuple[str, ...]] = {"s2l": ("clusters",), "less": ("influence",)}
