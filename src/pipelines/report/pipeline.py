"""evaluations -> results of each arm; comparison and figures of a study."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.arms import ARMS, ArmSpec
from pipelines.report import nodes


def create_arm_pipeline(arm: ArmSpec) -> Pipeline:
    """Sum up one arm for the tracker."""
    name = arm.name
    inputs = [f"{name}.evaluation", f"{name}.model", f"params:arms.{name}", "params:budget"]
    function = nodes.summarise_trained(arm)
    if arm.size == "none":
        inputs, function = [f"{name}.evaluation", "params:budget"], nodes.summarise_base(arm)
    return pipeline([Node(function, inputs, f"{name}.result", name="summarise", namespace=name)], tags=[name, "report"])


def create_pipeline(arms: tuple[str, ...]) -> Pipeline:
    """Compare these arms with one another."""
    trained = tuple(name for name in arms if ARMS[name].size != "none")
    models = [f"{name}.model" for name in trained]
    settings = ["params:study", "params:finetune", "params:budget"]
    evaluations = [f"{name}.evaluation" for name in arms]
    compare = Node(nodes.compare_arms(arms), [*settings, *evaluations, *models], "comparison", name="compare")
    draw = Node(nodes.draw_study, "comparison", ["accuracy_figure", "accuracy_chart"], name="draw_accuracy")
    curves = [Node(nodes.draw_curves(trained), models, "loss_figure", name="draw_loss_curves")] if trained else []
    return pipeline([compare, draw, *curves], tags=["report"])
