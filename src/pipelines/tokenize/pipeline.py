"""train, validation, base_model -> tokens."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.tokenize import nodes


def create_pipeline() -> Pipeline:
    """Tokenize once for all arms."""
    inputs = ["train", "validation", "base_model", "params:tokenize", "params:machine"]
    return pipeline([Node(nodes.tokenize, inputs, "tokens", name="tokenize")])
