"""raw files -> raw_examples -> examples, rejects."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.ingest import nodes


def create_pipeline(fabricated: bool) -> Pipeline:
    """Read the generated files, or the folder that `ingest.folder` names."""
    find = (
        Node(nodes.find_fabricated_examples, ["fabricated", "params:machine"], "raw_examples", name="find_raw_examples")
        if fabricated
        else Node(
            nodes.find_raw_examples, ["params:ingest", "params:machine"], "raw_examples", name="find_raw_examples"
        )
    )
    read = Node(
        nodes.ingest, ["raw_examples", "params:ingest", "params:machine"], ["examples", "rejects"], name="ingest"
    )
    return pipeline([find, read])
