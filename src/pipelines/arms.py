"""Every way to choose data, one line each.

Arms of mixtures are there in each round of a study: `pareto_knee`, `pareto_knee_round_2`, ...
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
    round: int = 1

    @property
    def settings(self) -> str:
        """The name that its settings stand under: all rounds share those of the first."""
        return _ROUND.sub("", self.name)

    @property
    def before(self) -> str:
        """The prefix of what its round made."""
        return prefix_of(self.round)


_ROUND = re.compile(r"_round_([2-9])$")
_ARMS = (
    ArmSpec("base", "none", size="none", controls=()),
    ArmSpec("all", "all", size="full"),
    ArmSpec("random", "random", controls=()),
    ArmSpec("length", "length", choice="validation_lengths"),
    ArmSpec("rds", "rds"),
    ArmSpec("bm25", "bm25"),
    ArmSpec("perplexity_low", "perplexity", choice="low"),
    ArmSpec("perplexity_mid", "perplexity", choice="mid"),
    ArmSpec("perplexity_high", "perplexity", choice="high"),
    ArmSpec("ifd", "ifd"),
    ArmSpec("embedding_diversity", "embedding_diversity"),
    ArmSpec("s2l", "s2l", choice="loss_clusters"),
    ArmSpec("less", "less", choice="all"),
    ArmSpec("select_moe", "select_moe", choice="top"),
    ArmSpec("select_moe_diverse", "select_moe", choice="diverse"),
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
        if later := _ROUND.search(name):
            first = self[name[: later.start()]]
            if first.strategy != "pareto" or first.round > 1:
                raise KeyError(name)
            return replace(first, name=name, round=int(later[1]))
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
PARETO = tuple(arm.name for arm in _ARMS if arm.strategy == "pareto")
# Arms that stand for a whole method where they are asked for alone: what is compared then.
METHODS = {"select_moe": ("random", "select_moe", "select_moe_diverse")}
# By strategy: stages with figures and files that nothing in the arm's tail needs, but its user wants to see.
SHOWN_WITH: dict[str, tuple[str, ...]] = {
    "rds": ("row_scores", "rds_scores"),
    "bm25": ("bm25_scores",),
    "perplexity": ("row_scores",),
    "ifd": ("row_scores",),
    "embedding_diversity": ("row_scores",),
    "s2l": ("clusters",),
    "less": ("influence",),
    "pareto": ("influence_matrix", "pareto"),
    "select_moe": ("select_moe_verify", "select_moe_score"),
}


def prefix_of(number: int) -> str:
    """What the names of a round's data begin with; the first round's have none."""
    return f"round_{number}." if number > 1 else ""


def in_rounds(names: tuple[str, ...], rounds: int) -> tuple[str, ...]:
    """The same names, each arm of mixtures followed by its later rounds."""
    found: dict[str, None] = {}
    for name in names:
        found[name] = None
        if ARMS[name].strategy == "pareto" and ARMS[name].round == 1:
            found |= {f"{name}_round_{number}": None for number in range(2, rounds + 1)}
    return tuple(found)


def of_full_size(arm: ArmSpec) -> ArmSpec:
    """An arm of mixtures that keeps the pool's size: its controls have that size too."""
    controls = tuple(name for name in ("random_beta", "all") if name != arm.settings)
    return replace(arm, size="full", controls=controls)


def reference_of(arm: ArmSpec, rounds_by: str) -> str:
    """The arm that a mixture's gains are counted from: the rows in their own proportions, or the mix it changes."""
    if arm.size != "full":
        return "random"
    return "all" if arm.round == 1 else in_rounds((rounds_by,), arm.round - 1)[-1]
