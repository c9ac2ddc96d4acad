"""weights -> training_mix, for one arm."""

from collections.abc import Callable

import pandas as pd
from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.arms import ArmSpec
from pipelines.mixture import nodes

Weigh = Callable[..., pd.DataFrame]
# Each strategy's function, made for the arm's choice, and what it needs besides the arm.
_WEIGH: dict[str, tuple[Callable[[str], Weigh], list[str]]] = {
    "all": (lambda _: nodes.weigh_all, ["tokens"]),
    "random": (lambda _: nodes.weigh_random, ["tokens"]),
    "length": (lambda _: nodes.weigh_length, ["tokens"]),
    "rds": (lambda _: nodes.weigh_nearest, ["rds_scores"]),
    "bm25": (lambda _: nodes.weigh_nearest, ["bm25_scores"]),
    "perplexity": (nodes.weigh_perplexity, ["row_scores"]),
    "ifd": (lambda _: nodes.weigh_ifd, ["row_scores"]),
    "embedding_diversity": (lambda _: nodes.weigh_distance, ["tokens", "diverse_order"]),
    "s2l": (lambda _: nodes.weigh_s2l, ["tokens", "clusters", "params:clusters", "params:budget"]),
    "select_moe": (nodes.weigh_select_moe, ["tokens", "selector_quality", "params:select_moe"]),
    "less": (nodes.weigh_less, ["tokens", "scores", "params:influence"]),
}


def create_pipeline(arm: ArmSpec) -> Pipeline:
    """Weigh the pool by the arm's strategy and take what its size allows."""
    name = arm.name
    weights = f"{name}.weights"
    weigh, needed = _weigh_mixture(arm) if arm.strategy == "pareto" else _WEIGH[arm.strategy]
    matrix = f"{arm.before}influence_matrix"
    mix = nodes.mix_everything if arm.size == "full" else nodes.mix_at_budget
    budget = [] if arm.size == "full" else ["params:budget", "params:selection"]
    told = []
    if arm.strategy == "pareto":
        mix_of = [
            f"{name}.training_mix",
            "train",
            "raw_examples",
            matrix,
            "params:ingest",
            "params:machine",
        ]
        written = [f"{name}.reweighted_data", f"{name}.reweighted_table"]
        told = [
            Node(
                nodes.tell_mixture(arm.choice), f"{arm.before}mixtures", f"{name}.mixture", name="tell", namespace=name
            ),
            Node(nodes.write_reweighted, mix_of, written, name="write_reweighted", namespace=name),
        ]
    return pipeline(
        [
            *told,
            Node(weigh(arm.choice), [*needed, f"params:arms.{arm.settings}"], weights, name="weigh", namespace=name),
            Node(mix, [weights, "tokens", *budget], f"{name}.training_mix", name="mix", namespace=name),
        ],
        tags=[name, "mixture"],
    )


def _weigh_mixture(arm: ArmSpec) -> tuple[Callable[[str], Weigh], list[str]]:
    """What weighs by the mixture of the arm's round: at the budget, or as many rows as there are."""
    needed = ["tokens", f"{arm.before}influence_matrix", f"{arm.before}mixtures"]
    if arm.size == "full":
        return nodes.weigh_full_mixture, needed
    return nodes.weigh_mixture, [*needed, "params:budget"]
