"""training_mix -> model, for one arm."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.arms import ArmSpec
from pipelines.finetune import nodes


def create_pipeline(arm: ArmSpec) -> Pipeline:
    """Fine-tune the base model on the arm's mix."""
    inputs = [
        f"{arm.name}.training_mix",
        "tokens",
        "base_model",
        "params:finetune",
        "params:tokenize",
        f"params:arms.{arm.settings}",
        "params:machine",
    ]
    node = Node(nodes.finetune, inputs, f"{arm.name}.model", name="finetune", namespace=arm.name)
    return pipeline([node], tags=[arm.name, "finetune"])
