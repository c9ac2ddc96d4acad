"""What a configuration decides about the pipelines: its own data or generated ones, which arms, which stages."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pipelines.arms import ARMS, METHODS, ONE_TARGET, ArmSpec, in_rounds, of_full_size, target_of
from winnow.errors import BadSetting
from winnow.params import (
    CompareParallelismParams,
    EvaluateParams,
    InfluenceParams,
    IngestParams,
    ModelParams,
    Params,
    ParetoParams,
    SelectMoeParams,
    StudyParams,
    TargetsParams,
    VerifyParams,
    WarmupParams,
)
from winnow.recipes import WARMUPS

Model = TypeVar("Model", bound=Params)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configured:
    """The parameters of one run, as far as pipelines are shaped by them."""

    given: Mapping[str, Any]

    def _section(self, name: str, model: type[Model]) -> Model:
        return model.model_validate(self.given.get(name, {}))

    @cached_property
    def study(self) -> StudyParams:
        """The arms that are compared by default."""
        return self._section("study", StudyParams)

    @cached_property
    def asking(self) -> EvaluateParams:
        """What models are asked."""
        return self._section("evaluate", EvaluateParams)

    @cached_property
    def scoring(self) -> InfluenceParams:
        """How influence is measured."""
        return self._section("influence", InfluenceParams)

    @cached_property
    def selector(self) -> SelectMoeParams:
        """The mixture of experts that selects."""
        return self._section("select_moe", SelectMoeParams)

    @cached_property
    def costs(self) -> CompareParallelismParams:
        """The cells of the cost table."""
        return self._section("compare_parallelism", CompareParallelismParams)

    @cached_property
    def warmups(self) -> dict[str, WarmupParams]:
        """The two warm-ups."""
        return {name: WarmupParams.model_validate(self.given["warmup"][name]) for name in WARMUPS}

    @property
    def is_fabricated(self) -> bool:
        """Whether the rows are generated, so that it is known what is planted among them."""
        return self._section("ingest", IngestParams).folder is None

    @property
    def has_own_base(self) -> bool:
        """Whether the user names the model that is fine-tuned."""
        return self._section("model", ModelParams).base is not None

    @property
    def is_relative(self) -> bool:
        """Whether mixtures keep the size of the pool."""
        return self._section("pareto", ParetoParams).mode == "relative"

    @property
    def has_matrix(self) -> bool:
        """Whether there is something that influence of clusters could be taken from: the direct mode scores rows."""
        return self.scoring.mode == "store" or self.scoring.estimator != "gradient"

    def arms(self) -> dict[str, ArmSpec]:
        """All arms that this configuration has, as it has them."""
        names = in_rounds((*ARMS, *(name for name in self.given["arms"] if target_of(name))), self.study.rounds)
        arms = {name: ARMS[name] for name in names if self.has_matrix or ARMS[name].strategy != "pareto"}
        return {name: of_full_size(arm) if self._is_full(arm) else arm for name, arm in arms.items()}

    def _is_full(self, arm: ArmSpec) -> bool:
        return self.is_relative and arm.strategy == "pareto"

    def compared(self, requested: tuple[str, ...]) -> tuple[str, ...]:
        """The arms of the comparison: those that were asked for, or else the study's."""
        names = requested or self._of_study()
        names = METHODS.get(names[0], names) if len(names) == 1 else names
        return in_rounds(self.known(names), self.study.rounds)

    def verified(self) -> tuple[str, ...]:
        """The arms whose selections are verified, beside the one that every other is measured against."""
        asked = self._section("verify", VerifyParams).arms
        names = self.known(asked or [name for name in self._of_study() if self._selects(name)])
        if nothing := [name for name in names if ARMS[name].size == "none"]:
            raise BadSetting(f"The arm {nothing[0]!r} selects no rows (`verify.arms`). Name arms that are trained.")
        return tuple(dict.fromkeys(("random", *names)))

    def _selects(self, name: str) -> bool:
        return name not in ARMS or (ARMS[name].size == "budget" and not self._is_full(ARMS[name]))

    def _of_study(self) -> tuple[str, ...]:
        """The study's arms, without those of mixtures where nothing tells the influence of clusters."""
        mixtures = [name for name in self.study.arms if name in ARMS and ARMS[name].strategy == "pareto"]
        if self.has_matrix or not mixtures:
            return tuple(self.study.arms)
        _log.warning("%s left out of the study: the direct mode measures no influence of clusters", ", ".join(mixtures))
        return tuple(name for name in self.study.arms if name not in mixtures)

    def known(self, names: Iterable[str]) -> tuple[str, ...]:
        """The same names, once each is found to be an arm that this configuration has, and all it needs is there."""
        names = tuple(dict.fromkeys(names))
        if unknown := [name for name in names if name not in ARMS]:
            raise BadSetting(
                f"No arm is called {', '.join(map(repr, unknown))} (`study.arms`). Known arms: "
                f"{', '.join(sorted(ARMS))}, and {' and '.join(f'{start}<target>' for start in ONE_TARGET)}."
            )
        for name in names:
            self._require(ARMS[name])
        return names

    def _require(self, arm: ArmSpec) -> None:
        sets = self._section("targets", TargetsParams).sets
        if arm.round > self.study.rounds:
            raise BadSetting(f"The arm {arm.name!r} is of a round that the study does not have. Set `study.rounds`.")
        if arm.strategy == "pareto" and not self.has_matrix:
            raise BadSetting(
                f"The arm {arm.name!r} needs influence of clusters, which the direct mode does not measure. Set "
                "`influence.mode: store`, or another `influence.estimator`, or leave it out of `study.arms`."
            )
        if (target := target_of(arm.name)) is None:
            return
        if sets and target not in sets:
            raise BadSetting(f"The arm {arm.name!r} has no target: `targets.sets` has {', '.join(sorted(sets))}.")
        if arm.settings not in self.given["arms"]:
            raise BadSetting(
                f"The arm {arm.name!r} has no settings. Add `arms.{arm.settings}: {{seeds: 5}}` to your parameters."
            )
