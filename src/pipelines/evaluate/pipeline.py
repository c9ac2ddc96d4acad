"""model -> evaluation, for one arm."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.evaluate import nodes


def create_pipeline(arm: str, split: str) -> Pipeline:
    """Evaluate an arm's models on ``split``; the arm `base` has none but the base model itself."""
    shared = [split, "base_model", "params:evaluate", "params:tokenize", "params:machine"]
    score, inputs = (nodes.evaluate_base, shared) if arm == "base" else (nodes.evaluate, [f"{arm}.model", *shared])
    node = Node(score, inputs, f"{arm}.evaluation", name="evaluate", namespace=arm)
    return pipeline([node], tags=[arm, "evaluate"])


def create_target_pipeline(arm: str) -> Pipeline:
    """The losses of an arm's models on the rows that influence was measured for."""
    inputs = [f"{arm}.model", "targets", "base_model", "params:evaluate", "params:tokenize", "params:machine"]
    node = Node(nodes.evaluate_on_targets, inputs, f"{arm}.target_losses", name="evaluate_on_targets", namespace=arm)
    return pipeline([node], tags=[arm, "evaluate"])
