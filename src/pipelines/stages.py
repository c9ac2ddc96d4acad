"""The stages that arms share, the tail of each arm, and how a stage brings all that comes before it."""

from collections.abc import Iterable

from kedro.pipeline import Pipeline, pipeline

from pipelines import (
    assistant,
    base_model,
    baselines,
    benchmarks,
    clusters,
    datamodels,
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
    rounds,
    select_moe,
    split,
    targets,
    tokenize,
    trajectories,
    warmup,
)
from pipelines.arms import ArmSpec, prefix_of, reference_of
from pipelines.configured import Configured
from pipelines.finetune.nodes import merge_finetune
from winnow.params import ArmParams, FinetuneParams

Stages = dict[str, Pipeline]


def shared_stages(configured: Configured) -> Stages:
    """All stages that are no arm's own, in order."""
    stages = _first_stages(configured) | _trajectory_stages(configured) | _gradient_stages(configured)
    stages |= select_moe.create_pipelines(configured.selector, fabricated=configured.is_fabricated)
    stages |= baselines.create_pipelines(fabricated=configured.is_fabricated)
    stages["datamodels"] = datamodels.create_pipeline(configured.scoring.mode)
    if configured.asking.tasks:
        stages["benchmarks"] = benchmarks.create_pipeline()
    stages["assistant"] = assistant.create_pipeline()
    return {name: stage for name, stage in stages.items() if stage.nodes}


def _first_stages(configured: Configured) -> Stages:
    """Those from the files to tokens; the user's own data and model leave out their fabricated twins."""
    fabricated = configured.is_fabricated
    own_base = configured.has_own_base
    return {
        "fabricate": fabricate.create_pipeline() if fabricated else pipeline([]),
        "base_model": base_model.create_pipeline() if own_base else fabricate.create_base_model_pipeline(),
        "ingest": ingest.create_pipeline(fabricated=fabricated),
        "split": split.create_pipeline(),
        "tokenize": tokenize.create_pipeline(),
    }


def _trajectory_stages(configured: Configured) -> Stages:
    """What looks at the checkpoints of a warm-up, in order."""
    own_base = {name: params.base is not None for name, params in configured.warmups.items()}
    return {
        "warmup": union(warmup.create_pipeline(name, own_base=own) for name, own in own_base.items()),
        "trajectories": trajectories.create_pipeline(own_base=own_base["proxy"]),
        "clusters": clusters.create_pipeline(),
    }


def _gradient_stages(configured: Configured) -> Stages:
    """From the checkpoints of the warm-up `less` to scores and mixtures, in order; the direct mode has no store."""
    params, own_base = configured.scoring, configured.warmups["less"].base is not None
    stages = {
        "targets": targets.create_pipeline(own_base),
        "gradients": gradients.create_pipeline(own_base) if params.mode == "store" else pipeline([]),
        "influence": influence.create_pipeline(params.mode, own_base),
        "ekfac": ekfac.create_pipeline(params.ekfac, configured.warmups),
    }
    if configured.has_matrix:
        stages["influence_matrix"] = influence_matrix.create_pipeline(params.estimator, params.columns)
        stages["pareto"] = pareto.create_pipeline()
    return stages


def later_rounds(configured: Configured, shared: Stages) -> Stages:
    """The rounds of a study after the first, each measured at a model of the one before."""
    study = configured.study
    made_with = (study.rounds_by, configured.scoring, configured.warmups, configured.is_relative)
    numbers = range(2, study.rounds + 1)
    return {prefix_of(number)[:-1]: rounds.create_pipeline(shared, number, *made_with) for number in numbers}


def tail_of(arm: ArmSpec, configured: Configured) -> Stages:
    """The stages of one arm; an arm without a size only evaluates the base model."""
    asking = configured.asking
    last = {"evaluate": evaluate.create_pipeline(arm.name, asking.split), "summarise": report.create_arm_pipeline(arm)}
    if asking.tasks:
        last["benchmarks"] = benchmarks.create_arm_pipeline(arm.name)
    if arm.size == "none":
        return last
    own = ArmParams.model_validate(configured.given["arms"].get(arm.settings, {}))
    if merge_finetune(FinetuneParams.model_validate(configured.given["finetune"]), own).watched:
        last["course"] = report.create_course_pipeline(arm.name)
    if arm.strategy == "pareto":
        reference = reference_of(arm, configured.study.rounds_by)
        last["gains"] = evaluate.create_target_pipeline(arm.name) + report.create_gains_pipeline(arm, reference)
    return {"mixture": mixture.create_pipeline(arm), "finetune": finetune.create_pipeline(arm), **last}


def add_selections(arms: dict[str, ArmSpec], tails: dict[str, Stages], everything: Pipeline) -> Pipeline:
    """Let each arm that is trained tell what its choice was and cost; returns everything with that."""
    for name in [name for name, arm in arms.items() if arm.size != "none"]:
        tails[name]["selection"] = report.create_selection_pipeline(name, _chosen_with(everything, name))
        everything += tails[name]["selection"]
    return everything


def _chosen_with(everything: Pipeline, arm: str) -> list[str]:
    """The data on the way to an arm's ranking that not every arm needs."""
    chain = everything.to_outputs(f"{arm}.weights") - everything.to_outputs("tokens")
    used = {dataset for node in chain.nodes for dataset in node.inputs}
    return sorted(used & chain.all_outputs())


def union(pipelines: Iterable[Pipeline]) -> Pipeline:
    """All nodes."""
    return Pipeline({node for part in pipelines for node in part.nodes})


def with_ancestors(everything: Pipeline, part: Pipeline) -> Pipeline:
    """A part of everything, and all that leads to it."""
    return everything.to_nodes(*[node.name for node in part.nodes])
