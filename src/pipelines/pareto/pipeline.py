"""influence_matrix -> mixtures, one for each strategy, and the front of those that no other beats."""

from typing import Literal

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.pareto import nodes


def create_pipeline(mix: str | Literal[False] = False) -> Pipeline:
    """Choose mixtures and show them; with a mix they are changes of that, and else of the pool."""
    inputs = ["influence_matrix", "tokens", "params:pareto", "params:budget", "params:machine"]
    find = Node(nodes.find_mixtures, inputs, "mixtures", name="pareto")
    if mix:
        find = Node(nodes.change_mixture, [mix, *inputs], "mixtures", name="pareto")
    shown = ["pareto_choices", "pareto_front", "pareto_figure", "pareto_quality"]
    show = Node(nodes.show_mixtures, "mixtures", shown, name="show_mixtures")
    return pipeline([find, show], tags=["pareto"])
