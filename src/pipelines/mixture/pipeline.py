"""weights -> training_mix, for one arm."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.arms import ArmSpec
from pipelines.mixture import nodes

_WEIGH = {"all": nodes.weigh_all, "random": nodes.weigh_random, "length": nodes.weigh_length}


def create_pipeline(arm: ArmSpec) -> Pipeline:
    """Weigh the pool by the arm's strategy and take what its size allows."""
    name = arm.name
    weights = f"{name}.weights"
    weigh = _WEIGH[arm.strategy]
    mix = nodes.mix_everything if arm.size == "full" else nodes.mix_at_budget
    budget = [] if arm.size == "full" else ["params:budget"]
    return pipeline(
        [
            Node(weigh, ["tokens", f"params:arms.{name}"], weights, name="weigh", namespace=name),
            Node(mix, [weights, "tokens", *budget], f"{name}.training_mix", name="mix", namespace=name),
        ],
        tags=[name, "mixture"],
    )
