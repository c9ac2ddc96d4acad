"""model -> evaluation, for one arm."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.evaluate import nodes


def create_pipeline(arm: str, split: str) -> Pipeline:
    """Evaluate an arm's models on ``split``; the arm `base` has none but the base model itself."""
    shared = [split, "base_model", "params:evaluate", "params:tokenize", "params:machine"]
    score, inputs = (nodes.evaluate_base, shared) if arm == "base" else (nodes.evaluate, [f"{arm}.model", *shared])
    node = Node(score, inputs, f"{arm}.evaluation", name="evaluate", namespace=arm)
    return pipeline([node], tags=[arm, "evaluate"])
