"""training_mix -> model, for one arm."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.finetune import nodes


def create_pipeline(arm: str) -> Pipeline:
    """Fine-tune the base model on the arm's mix."""
    inputs = [
        f"{arm}.training_mix",
        "tokens",
        "base_model",
        "params:finetune",
        f"params:arms.{arm}",
        "params:machine",
    ]
    node = Node(nodes.finetune, inputs, f"{arm}.model", name="finetune", namespace=arm)
    return pipeline([node], tags=[arm, "finetune"])
