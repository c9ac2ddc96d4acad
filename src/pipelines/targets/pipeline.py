"""validation -> targets, target_tokens."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.targets import nodes
from pipelines.warmup.pipeline import names_of


def create_pipeline(own_base: bool = False) -> Pipeline:
    """Gather what examples are scored for, and tokenize it."""
    base, _ = names_of("less", own_base)
    gather = Node(nodes.gather_targets, ["validation", "params:targets", "params:machine"], "targets", name="targets")
    inputs = ["targets", base, "params:tokenize", "params:machine"]
    return pipeline([gather, Node(nodes.tokenize_targets, inputs, "target_tokens", name="tokenize_targets")])
