"""proxy_checkpoints, tokens -> losses."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.trajectories.nodes import follow_losses
from pipelines.warmup.pipeline import names_of


def create_pipeline(own_base: bool = False) -> Pipeline:
    """Follow every example's loss over the proxy's checkpoints."""
    base, tokens = names_of("proxy", own_base)
    inputs = ["proxy_checkpoints", tokens, base, "params:trajectories", "params:machine"]
    return pipeline([Node(follow_losses, inputs, "losses", name="trajectories")], tags=["trajectories"])
