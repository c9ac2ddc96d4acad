"""train_gradients, validation_gradients, targets, a grouping -> influence_matrix and its pictures."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.influence_matrix import nodes


def create_pipeline(columns: str) -> Pipeline:
    """Influence of clusters (or subsets, or a grouping of one's own) on domains."""
    groups = "clusters" if columns in ("cluster", "subset_cluster") else "tokens"
    inputs = ["train_gradients", "validation_gradients", "targets", groups, "params:influence", "params:machine"]
    shown = ["influence_matrix_table", "influence_matrix_figure"]
    return pipeline(
        [
            Node(nodes.find_matrix, inputs, "influence_matrix", name="influence_matrix"),
            Node(nodes.show_matrix, "influence_matrix", shown, name="show_influence_matrix"),
        ],
        tags=["influence_matrix"],
    )
