"""The names that `kedro run --pipeline` knows: every stage, every arm, and groups of arms.

A name always brings all its ancestors, from the raw files on, so it works on a fresh clone; what is finished is reused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kedro.pipeline import Pipeline, pipeline

from pipelines import (
    assistant,
    base_model,
    baselines,
    benchmarks,
    clusters,
    compare_parallelism,
    datamodels,
    ekfac,
    evaluate,
    fabricate,
    finetune,
    gradients,
    influence,
    influence_matrix,
    ingest,
    leave_out,
    mixture,
    pareto,
    report,
    rounds,
    select_moe,
    split,
    targets,
    tokenize,
    trajectories,
    verify,
    warmup,
)
from pipelines.arms import (
    ARMS,
    BASELINE,
    METHODS,
    ONE_TARGET,
    PARETO,
    SHOWN_WITH,
    ArmSpec,
    in_rounds,
    of_full_size,
    prefix_of,
    reference_of,
    target_of,
)
from pipelines.finetune.nodes import merge_finetune
from pipelines.requested import requested_arms
from winnow.errors import BadSetting
from winnow.params import (
    ArmParams,
    CompareParallelismParams,
    EvaluateParams,
    FinetuneParams,
    InfluenceParams,
    IngestParams,
    ModelParams,
    ParetoParams,
    SelectMoeParams,
    StudyParams,
    TargetsParams,
    VerifyParams,
    WarmupParams,
)
from winnow.recipes import WARMUPS
from winnow.registration import parameters

# Arms whose losses on the targets are what gains are counted from; that of later rounds has its own.
REFERENCES = ("random", "all")


def register_pipelines() -> dict[str, Pipeline]:
    """Build all pipelines; what is compared depends on the configuration and on the command."""
    given = parameters()
    asking = EvaluateParams.model_validate(given["evaluate"])
    study = StudyParams.model_validate(given["study"])
    asked = requested_arms() or tuple(study.arms)
    asked = METHODS.get(asked[0], asked) if len(asked) == 1 else asked
    compared = in_rounds(known_arms(asked, given), study.rounds)

    shared = _shared_stages(IngestParams.model_validate(given["ingest"]), ModelParams.model_validate(given["model"]))
    warmups = {name: WarmupParams.model_validate(given["warmup"][name]) for name in WARMUPS}
    scoring = InfluenceParams.model_validate(given["influence"])
    shared |= _trajectory_stages(warmups) | _gradient_stages(warmups, scoring)
    selector = SelectMoeParams.model_validate(given["select_moe"])
    shared |= select_moe.create_pipelines(selector, fabricated="fabricate" in shared)
    shared |= baselines.create_pipelines(fabricated="fabricate" in shared)
    shared["datamodels"] = datamodels.create_pipeline(scoring.mode)
    arms = _arms(given, scoring, study)
    shared |= {"benchmarks": benchmarks.create_pipeline()} if asking.tasks else {}
    shared["assistant"] = assistant.create_pipeline()
    tails = {name: _tail(arm, asking, reference_of(arm, study.rounds_by), given) for name, arm in arms.items()}
    relative = ParetoParams.model_validate(given["pareto"]).mode == "relative"
    later = {
        prefix_of(number)[:-1]: rounds.create_pipeline(shared, number, study.rounds_by, scoring, warmups, relative)
        for number in range(2, study.rounds + 1)
    }
    references = [evaluate.create_target_pipeline(name) for name in REFERENCES] if has_matrix(scoring) else []
    everything = _union(
        [*shared.values(), *(stage for tail in tails.values() for stage in tail.values()), *later.values(), *references]
    )
    for name in [name for name, arm in arms.items() if arm.size != "none"]:
        tails[name]["selection"] = report.create_selection_pipeline(name, _chosen_with(everything, name))
        everything += tails[name]["selection"]

    registered = {name: _with_ancestors(everything, stage) for name, stage in (shared | later).items()}
    for stage in ("mixture", "finetune", "evaluate", *(["benchmarks"] if asking.tasks else [])):
        registered[stage] = _with_ancestors(everything, _union(tail[stage] for tail in tails.values() if stage in tail))
    for name, tail in tails.items():
        shown = [shared[stage] for stage in SHOWN_WITH.get(arms[name].strategy, ())]
        shown += [later[arms[name].before[:-1]]] if arms[name].round > 1 else []
        registered[name] = _with_ancestors(everything, _union([*tail.values(), *shown]))
    for name in list(tails):
        registered[name] = _union(registered[own] for own in in_rounds((name,), study.rounds))

    def comparison(names: Iterable[str]) -> Pipeline:
        specs = tuple(arms[name] for name in names)
        whole = _union(registered[arm.name] for arm in specs)
        whole += report.create_pipeline(specs, study.rounds_by)
        whole += report.create_page_pipeline(specs, with_tasks=bool(asking.tasks))
        if asking.tasks:
            asked = _with_ancestors(everything, tails["base"]["benchmarks"])
            whole += asked + benchmarks.create_comparison_pipeline(tuple(arm.name for arm in specs))
        return whole

    table = compare_parallelism.create_pipeline(CompareParallelismParams.model_validate(given["compare_parallelism"]))
    registered["compare_parallelism"] = _with_ancestors(everything + table, table)
    verified = _verify(_verified(given, study), fabricated="fabricate" in shared)
    registered["verify"] = _with_ancestors(everything + verified, verified)
    registered["baseline"] = _union(registered[name] for name in BASELINE)
    if has_matrix(scoring):
        retrained = leave_out.create_pipeline()
        registered["leave_out"] = _with_ancestors(everything + retrained, retrained)
        controls = ("random", "all") if arms[PARETO[0]].size == "full" else ("random",)
        registered["pareto_reweighting"] = comparison(in_rounds((*controls, *PARETO), study.rounds))
    # Kedro runs the union of what is named: each arm that was asked for stands for all of them, and their comparison.
    return registered | dict.fromkeys(("study", "report", "__default__", *requested_arms()), comparison(compared))


def _arms(given: Mapping[str, Any], scoring: InfluenceParams, study: StudyParams) -> dict[str, ArmSpec]:
    """All arms that this configuration has, as it has them."""
    names = in_rounds((*ARMS, *(name for name in given["arms"] if target_of(name))), study.rounds)
    full = ParetoParams.model_validate(given["pareto"]).mode == "relative"
    arms = {name: ARMS[name] for name in names if has_matrix(scoring) or ARMS[name].strategy != "pareto"}
    return {name: of_full_size(arm) if full and arm.strategy == "pareto" else arm for name, arm in arms.items()}


def _verified(given: Mapping[str, Any], study: StudyParams) -> tuple[str, ...]:
    """The arms whose selections are verified, beside the one that every other is measured against."""
    asked = VerifyParams.model_validate(given["verify"]).arms
    names = known_arms(asked or [name for name in study.arms if ARMS[name].size == "budget"], given)
    if nothing := [name for name in names if ARMS[name].size == "none"]:
        raise BadSetting(f"The arm {nothing[0]!r} selects no rows (`verify.arms`). Name arms that are trained.")
    return tuple(dict.fromkeys(("random", *names)))


def _verify(names: tuple[str, ...], fabricated: bool) -> Pipeline:
    return _union([*map(verify.create_arm_pipeline, names), verify.create_pipeline(names, fabricated)])


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
    rounds = StudyParams.model_validate(given.get("study", {})).rounds
    for name in names:
        if ARMS[name].round > rounds:
            raise BadSetting(f"The arm {name!r} is of a round that the study does not have. Set `study.rounds`.")
        if ARMS[name].strategy == "pareto" and not weighed:
            raise BadSetting(
                f"The arm {name!r} needs influence of clusters, which the direct mode does not measure. Set "
                "`influence.mode: store`, or another `influence.estimator`."
            )
        if (target := target_of(name)) is None:
            continue
        if sets and target not in sets:
            raise BadSetting(f"The arm {name!r} has no target: `targets.sets` has {', '.join(sorted(sets))}.")
        if (own := ARMS[name].settings) not in given["arms"]:
            raise BadSetting(f"The arm {name!r} has no settings. Add `arms.{own}: {{seeds: 5}}` to your parameters.")
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
        "ekfac": ekfac.create_pipeline(params.ekfac, warmups),
    }
    if has_matrix(params):
        stages["influence_matrix"] = influence_matrix.create_pipeline(params.estimator, params.columns)
        stages["pareto"] = pareto.create_pipeline()
    return {name: stage for name, stage in stages.items() if stage.nodes}


def has_matrix(params: InfluenceParams) -> bool:
    """Whether there is something that influence of clusters could be taken from: the direct mode scores rows alone."""
    return params.mode == "store" or params.estimator != "gradient"


def _tail(arm: ArmSpec, asking: EvaluateParams, reference: str, given: Mapping[str, Any]) -> dict[str, Pipeline]:
    """The stages of one arm; an arm without a size only evaluates the base model."""
    last = {"evaluate": evaluate.create_pipeline(arm.name, asking.split), "summarise": report.create_arm_pipeline(arm)}
    if asking.tasks:
        last["benchmarks"] = benchmarks.create_arm_pipeline(arm.name)
    if arm.size == "none":
        return last
    own = ArmParams.model_validate(given["arms"].get(arm.settings, {}))
    if merge_finetune(FinetuneParams.model_validate(given["finetune"]), own).watched:
        last["course"] = report.create_course_pipeline(arm.name)
    if arm.strategy == "pareto":
        last["gains"] = evaluate.create_target_pipeline(arm.name) + report.create_gains_pipeline(arm, reference)
    return {"mixture": mixture.create_pipeline(arm), "finetune": finetune.create_pipeline(arm), **last}


def _chosen_with(everything: Pipeline, arm: str) -> list[str]:
    """The data on the way to an arm's ranking that not every arm needs."""
    chain = everything.to_outputs(f"{arm}.weights") - everything.to_outputs("tokens")
    used = {dataset for node in chain.nodes for dataset in node.inputs}
    return sorted(used & chain.all_outputs())


def _union(pipelines: Iterable[Pipeline]) -> Pipeline:
    return sum(pipelines, pipeline([]))


def _with_ancestors(everything: Pipeline, part: Pipeline) -> Pipeline:
    return everything.to_nodes(*[node.name for node in part.nodes])
