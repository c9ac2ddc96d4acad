"""The mix of one round -> a model retrained on it -> influence and mixtures of the next, in a namespace of its own."""

from collections.abc import Mapping

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines import pareto
from pipelines.arms import ARMS, in_rounds, prefix_of
from pipelines.warmup import nodes
from pipelines.warmup.pipeline import names_of
from winnow.errors import BadSetting
from winnow.params import InfluenceParams, WarmupParams

STAGES = {"gradient": "gradients", "ekfac": "ekfac"}


def create_pipeline(
    shared: Mapping[str, Pipeline],
    number: int,
    rounds_by: str,
    params: InfluenceParams,
    warmups: Mapping[str, WarmupParams],
    relative: bool,
) -> Pipeline:
    """Repeat what measures influence, on checkpoints of a model that was trained on the mix of the round before."""
    if params.estimator not in STAGES or STAGES[params.estimator] not in shared:
        raise BadSetting(
            f"`study.rounds` is more than 1, and influence is measured by `influence.estimator: {params.estimator}` in "
            f"mode {params.mode}: a round needs the gradients of a retrained model. Take gradient (mode store), or "
            "ekfac."
        )
    if rounds_by not in ARMS or ARMS[rounds_by].strategy != "pareto":
        raise BadSetting(f"`study.rounds_by` is {rounds_by!r}; it has to be an arm of mixtures, such as pareto_knee.")
    warmup = params.ekfac.warmup if params.estimator == "ekfac" else "less"
    base, tokens = names_of(warmup, warmups[warmup].base is not None)
    mix = f"{in_rounds((rounds_by,), number - 1)[-1]}.training_mix"
    inputs = [mix, tokens, base, f"params:warmup.{warmup}", "params:machine"]
    retrain = Node(nodes.named_retraining(warmup), inputs, f"{warmup}_checkpoints", name="retrain")
    found = [shared[STAGES[params.estimator]], shared["influence_matrix"], pareto.create_pipeline(relative and mix)]
    stage = sum(found, pipeline([retrain]))
    free = stage.inputs()
    settings = {name for name in free if name.startswith("params:")}
    return pipeline(stage, namespace=prefix_of(number)[:-1], inputs=free - settings, parameters=settings)
