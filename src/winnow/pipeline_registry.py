"""The names that `kedro run --pipeline` knows: every stage, every arm, and groups of arms.

A name always brings all its ancestors, from the raw files on, so it works on a fresh clone; what is finished is reused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kedro.pipeline import Pipeline, pipeline

from pipelines import (
    base_model,
    clusters,
    ekfac,
    evaluate,
    fabricate,
    finetune,
    gradients,
    influence,
    influence_matrix,
    ingest,
    mixture,
    pareto,
    report,
    split,
    targets,
    tokenize,
    trajectories,
    warmup,
)
from pipelines.arms import ARMS, BASELINE, ONE_TARGET, SHOWN_WITH, ArmSpec, target_of
from pipelines.requested import requested_arms
from winnow.errors import BadSetting
from winnow.params import (
    EvaluateParams,
    InfluenceParams,
    IngestParams,
    ModelParams,
    StudyParams,
    TargetsParams,
    WarmupParams,
)
from winnow.recipes import WARMUPS
from winnow.registration import parameters


def register_pipelines() -> dict[str, Pipeline]:
    """Build all pipelines; what is compared depends on the configuration and on the command."""
    given = parameters()
    split_name = EvaluateParams.model_validate(given["evaluate"]).split
    compared = known_arms(requested_arms() or StudyParams.model_validate(given["study"]).arms, given)

    shared = _shared_stages(IngestParams.model_validate(given["ingest"]), ModelParams.model_validate(given["model"]))
    warmups = {name: WarmupParams.model_validate(given["warmup"][name]) for name in WARMUPS}
    scoring = InfluenceParams.model_validate(given["influence"])
    shared |= _trajectory_stages(warmups) | _gradient_stages(warmups, scoring)
    names = [*ARMS, *(name for name in given["arms"] if target_of(name))]
    names = [name for name in names if has_matrix(scoring) or ARMS[name].strategy != "pareto"]
    tails = {name: _tail(ARMS[name], split_name) for name in names}
    everything = _union([*shared.values(), *(stage for tail in tails.values() for stage in tail.values())])
    comparison = report.create_pipeline(compared)

    registered = {name: _with_ancestors(everything, stage) for name, stage in shared.items()}
    for stage in ("mixture", "finetune", "evaluate"):
        registered[stage] = _with_ancestors(everything, _union(tail[stage] for tail in tails.values() if stage in tail))
    for name, tail in tails.items():
        shown = [shared[stage] for stage in SHOWN_WITH.get(ARMS[name].strategy, ())]
        registered[name] = _with_ancestors(everything, _union([*tail.values(), *shown]))
        if name in requested_arms():
            registered[name] += comparison
    registered["baseline"] = _union(registered[name] for name in BASELINE)
    registered["study"] = _union(registered[name] for name in compared) + comparison
    registered["report"] = registered["__default__"] = registered["study"]
    return registered


def known_arms(names: Iterable[str], given: Mapping[str, Any]) -> tuple[str, ...]:
    """The same names, once each of them is found to be an arm, and its target, where it has one, to be declared."""
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise BadSetting(
            f"No arm is called {', '.join(map(repr, unknown))} (`study.arms`). Known arms: {', '.join(sorted(ARMS))}, "
            f"and {' and '.join(f'{start}<target>' for start in ONE_TARGET)}."
        )
    sets = TargetsParams.model_validate(given["targets"]).sets
    weighed = has_matrix(InfluenceParams.model_validate(given["influence"]))
    for name in names:
        if ARMS[name].strategy == "pareto" and not weighed:
            raise BadSetting(
                f"The arm {name!r} needs influence of clusters, which the direct mode does not measure. Set "
                "`influence.mode: store`, or another `influence.estimator`."
            )
        if (target := target_of(name)) is None:
            continue
        if sets and target not in sets:
            raise BadSetting(f"The arm {name!r} has no target: `targets.sets` has {', '.join(sorted(sets))}.")
        if name not in given["arms"]:
            raise BadSetting(f"The arm {name!r} has no settings. Add `arms.{name}: {{seeds: 5}}` to your parameters.")
    return tuple(dict.fromkeys(names))


def _shared_stages(source: IngestParams, model: ModelParams) -> dict[str, Pipeline]:
    """The stages before the arms part, in order; the user's own data and model leave out their fabricated twins."""
    fabricated = source.folder is None
    stages = {
        "fabricate": fabricate.create_pipeline() if fabricated else pipeline([]),
        "base_model": fabricate.create_base_model_pipeline() if model.base is None else base_model.create_pipeline(),
        "ingest": ingest.create_pipeline(fabricated=fabricated),
        "split": split.create_pipeline(),
        "tokenize": tokenize.create_pipeline(),
    }
    return {name: stage for name, stage in stages.items() if stage.nodes}


def _trajectory_stages(warmups: dict[str, WarmupParams]) -> dict[str, Pipeline]:
    """What looks at the checkpoints of a warm-up, in order."""
    return {
        "warmup": _union(
            warmup.create_pipeline(name, own_base=params.base is not None) for name, params in warmups.items()
        ),
        "trajectories": trajectories.create_pipeline(own_base=warmups["proxy"].base is not None),
        "clusters": clusters.create_pipeline(),
    }


def _gradient_stages(warmups: dict[str, WarmupParams], params: InfluenceParams) -> dict[str, Pipeline]:
    """From the checkpoints of the warm-up `less` to scores and mixtures, in order; the direct mode has no store."""
    own_base = warmups["less"].base is not None
    stages = {
        "targets": targets.create_pipeline(own_base),
        "gradients": gradients.create_pipeline(own_base) if params.mode == "store" else pipeline([]),
        "influence": influence.create_pipeline(params.mode, own_base),
        "ekfac": ekfac.create_pipeline(params.ekfac, warmups) if params.estimator == "ekfac" else pipeline([]),
    }
    if has_matrix(params):
        stages["influence_matrix"] = influence_matrix.create_pipeline(params.estimator, params.columns)
        stages["pareto"] = pareto.create_pipeline()
    return {name: stage for name, stage in stages.items() if stage.nodes}


def has_matrix(params: InfluenceParams) -> bool:
    """Whether there is something that influence of clusters could be taken from: the direct mode scores rows alone."""
    return params.mode == "store" or params.estimator != "gradient"


def _tail(arm: ArmSpec, split_name: str) -> dict[str, Pipeline]:
    """The stages of one arm; an arm without a size only evaluates the base model."""
    last = {"evaluate": evaluate.create_pipeline(arm.name, split_name), "summarise": report.create_arm_pipeline(arm)}
    if arm.size == "none":
        return last
    return {"mixture": mixture.create_pipeline(arm), "finetune": finetune.create_pipeline(arm.name), **last}


def _union(pipelines: Iterable[Pipeline]) -> Pipeline:
    return sum(pipelines, pipeline([]))


def _with_ancestors(everything: Pipeline, part: Pipeline) -> Pipeline:
    return everything.to_nodes(*[node.name for node in part.nodes])
