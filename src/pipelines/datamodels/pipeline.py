"""tokens, base_model, targets -> subset_losses; with the scores of every estimator -> datamodels and its figure."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.datamodels import nodes
from pipelines.influence.nodes import score_in_units_of_loss
from pipelines.influence_matrix.pipeline import STORES

# Each estimator, and the scores that it is judged by.
ESTIMATORS = {
    "gradient": "gradient_products",
    "ekfac": "ekfac_products",
    "less": "scores",
    "loss": "row_scores",
    "bm25": "bm25_scores",
    "rds": "rds_scores",
}
PARAMS = "params:verify.datamodels"


def create_pipeline(mode: str) -> Pipeline:
    """Train on subsets, and hold all estimators to it; in direct mode there is no store for `gradient`."""
    settings = ["params:finetune", "params:evaluate", "params:tokenize", PARAMS, "params:machine"]
    trained = ["tokens", "base_model", "targets", *settings]
    estimators = {name: scores for name, scores in ESTIMATORS.items() if name != "gradient" or mode == "store"}
    products = [
        Node(
            score_in_units_of_loss,
            [*STORES[name], "targets", "params:influence", "params:machine"],
            estimators[name],
            name=estimators[name],
        )
        for name in STORES
        if name in estimators
    ]
    shown = ["datamodels", "datamodels_figure", "datamodels_metrics"]
    return pipeline(
        [
            *products,
            Node(nodes.train_subsets, trained, "subset_losses", name="train_subsets"),
            Node(
                nodes.score_estimators(tuple(estimators)),
                ["subset_losses", PARAMS, "params:influence", *estimators.values()],
                shown,
                name="score_estimators",
            ),
        ],
        tags=["datamodels"],
    )
