"""params:model -> base_model, for a model from the hub or a folder."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.base_model.nodes import use_base_model


def create_pipeline() -> Pipeline:
    """Record the base model that the configuration names."""
    return pipeline([Node(use_base_model, ["params:model", "params:machine"], "base_model", name="base_model")])
