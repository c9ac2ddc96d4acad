"""influence_matrix -> mixtures, one for each strategy, and the front of those that no other beats."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.pareto import nodes


def create_pipeline() -> Pipeline:
    """Choose mixtures and show them."""
    inputs = ["influence_matrix", "tokens", "params:pareto", "params:budget", "params:machine"]
    shown = ["pareto_choices", "pareto_front", "pareto_figure", "pareto_quality"]
    return pipeline(
        [
            Node(nodes.find_mixtures, inputs, "mixtures", name="pareto"),
            Node(nodes.show_mixtures, "mixtures", shown, name="show_mixtures"),
        ],
        tags=["pareto"],
    )
