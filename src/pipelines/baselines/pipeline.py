"""tokens, base_model, targets -> row_scores, rds_scores, bm25_scores, diverse_order, and what they show."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.baselines import nodes
from pipelines.targets.nodes import tokenize_targets

SETTINGS = ["params:baselines", "params:machine"]
DIVERSE = "embedding_diversity"


def create_pipelines(fabricated: bool) -> dict[str, Pipeline]:
    """The stages, in order; where the data are generated, scores are held to what was planted."""
    # Gradients may be those of another model, whose tokenizer has other ids.
    tokenize = Node(
        tokenize_targets,
        ["targets", "base_model", "params:tokenize", "params:machine"],
        "base_target_tokens",
        name="tokenize_targets_for_base",
    )
    rds = ["row_scores", "base_target_tokens", "targets", "base_model"]
    order = ["row_scores", "params:budget", f"params:arms.{DIVERSE}", "params:machine"]
    stages = {
        "row_scores": [
            Node(
                nodes.score_rows,
                ["tokens", "base_model", "params:baselines", "params:tokenize", "params:machine"],
                "row_scores",
                name="row_scores",
            )
        ],
        "rds_scores": [tokenize, Node(nodes.score_by_embeddings, [*rds, *SETTINGS], "rds_scores", name="rds_scores")],
        "bm25_scores": [
            Node(nodes.score_by_words, ["train", "tokens", "targets", *SETTINGS], "bm25_scores", name="bm25_scores")
        ],
        "diverse_order": [Node(nodes.order_by_distance, order, "diverse_order", name="diverse_order")],
    }
    shown = {
        "row_scores": [_show_row_scores()],
        **{f"{arm}_scores": [_show(arm)] for arm in ("rds", "bm25")},
    }
    if fabricated:
        shown["row_scores"].append(_separate_row_scores())
        for arm in ("rds", "bm25"):
            shown[f"{arm}_scores"].append(_separate(arm))
    return {name: pipeline([*made, *shown.get(name, [])], tags=["baselines"]) for name, made in stages.items()}


def _show_row_scores() -> Node:
    made = ["row_scores_figure", "row_scores_examples"]
    return Node(nodes.show_row_scores, ["row_scores", "train"], made, name="show_row_scores")


def _separate_row_scores() -> Node:
    made = ["row_scores_kinds_figure", "row_scores_separation", "row_scores_metrics"]
    return Node(nodes.separate_row_scores, ["row_scores", "planted"], made, name="separate_row_scores")


def _show(arm: str) -> Node:
    return Node(nodes.show_scores, [f"{arm}_scores", "train"], f"{arm}_examples", name=f"show_{arm}_scores")


def _separate(arm: str) -> Node:
    made = [f"{arm}_separation", f"{arm}_metrics"]
    return Node(nodes.separate_scores(arm), [f"{arm}_scores", "planted"], made, name=f"separate_{arm}_scores")
