"""evaluations -> results of each arm; comparison and figures of a study."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.arms import ARMS, ArmSpec
from pipelines.report import nodes


def create_arm_pipeline(arm: ArmSpec) -> Pipeline:
    """Describe one arm, and sum up what came of it, for the tracker."""
    name = arm.name
    settings = [f"params:arms.{name}", "params:budget", "params:finetune"]
    describe = Node(nodes.describe_arm(arm), settings, f"{name}.description", name="describe", namespace=name)
    function, inputs = nodes.summarise_trained, [f"{name}.evaluation", f"{name}.model"]
    if arm.size == "none":
        function, inputs = nodes.summarise_base, [f"{name}.evaluation"]
    summarise = Node(function, inputs, f"{name}.result", name="summarise", namespace=name)
    return pipeline([describe, summarise], tags=[name, "report"])


def create_pipeline(arms: tuple[str, ...]) -> Pipeline:
    """Compare these arms with one another."""
    trained = tuple(name for name in arms if ARMS[name].size != "none")
    models = [f"{name}.model" for name in trained]
    shared = ["params:study", "params:finetune", "params:budget", "train"]
    evaluations = [f"{name}.evaluation" for name in arms]
    compare = Node(nodes.compare_arms(arms), [*shared, *evaluations, *models], "comparison", name="compare")
    drawn = ["accuracy_figure", "accuracy_chart", "cost_figure", "comparison_table"]
    draw = Node(nodes.draw_study, "comparison", drawn, name="draw_study")
    curves = [Node(nodes.draw_curves(trained), models, "loss_figure", name="draw_loss_curves")] if trained else []
    return pipeline([compare, draw, *curves], tags=["report"])
