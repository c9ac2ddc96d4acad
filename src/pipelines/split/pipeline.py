"""examples -> train, validation, held_out, duplicates."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.split import nodes


def create_pipeline() -> Pipeline:
    """Split every source file, before any training."""
    inputs = ["examples", "raw_examples", "params:split", "params:ingest", "params:machine"]
    return pipeline([Node(nodes.split, inputs, ["train", "validation", "held_out", "duplicates"], name="split")])
