"""train_gradients, validation_gradients, targets, a grouping -> influence_matrix and its pictures."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.influence_matrix import nodes

STORES = {
    "gradient": ("train_gradients", "validation_gradients"),
    "ekfac": ("ekfac_train_features", "ekfac_target_features"),
}


def create_pipeline(estimator: str, columns: str) -> Pipeline:
    """Influence of clusters (or subsets, or a grouping of one's own) on domains."""
    groups = "clusters" if columns in ("cluster", "subset_cluster") else "tokens"
    if estimator == "retrain":
        trained = ["tokens", "base_model", "targets", groups]
        settings = [f"params:{name}" for name in ("finetune", "evaluate", "tokenize", "influence", "machine")]
        find = Node(nodes.retrain_matrix, [*trained, *settings], "influence_matrix", name="influence_matrix")
    else:
        inputs = [*STORES[estimator], "targets", groups, "params:influence", "params:machine"]
        find = Node(nodes.find_matrix, inputs, "influence_matrix", name="influence_matrix")
    # The first empties the folder that all lie in.
    pictures = ["influence_matrix_figures", "influence_matrix_figure"]
    shown = [*pictures, "influence_matrix_table", "influence_analysis", "influence_metrics"]
    show = Node(nodes.show_matrix, "influence_matrix", shown, name="show_influence_matrix")
    return pipeline([find, show], tags=["influence_matrix"])
