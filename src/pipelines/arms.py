"""Every way to choose data, one line each."""

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
)

ARMS: dict[str, ArmSpec] = {arm.name: arm for arm in _ARMS}
BASELINE = ("base", "all", "random", "length")
# Stages with figures and files that nothing in the arm's tail needs, but its user wants to see.
SHOWN_WITH: dict[str, tuple[str, ...]] = {"s2l": ("clusters",)}
