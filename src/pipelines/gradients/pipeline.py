"""less_checkpoints, tokens, target_tokens -> train_gradients, validation_gradients."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.gradients import nodes
from pipelines.warmup.pipeline import names_of


def create_pipeline(own_base: bool = False) -> Pipeline:
    """Collect the features of the pool and of the targets."""
    base, tokens = names_of("less", own_base)
    settings = [base, "params:gradients", "params:machine"]
    return pipeline(
        [
            Node(
                nodes.collect_train,
                ["less_checkpoints", tokens, *settings],
                "train_gradients",
                name="train_gradients",
            ),
            Node(
                nodes.collect_targets,
                ["less_checkpoints", "target_tokens", *settings],
                "validation_gradients",
                name="validation_gradients",
            ),
        ],
        tags=["gradients"],
    )
