"""train_gradients, validation_gradients, targets -> scores, and what they tell; or straight from the checkpoints."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.influence import nodes
from pipelines.warmup.pipeline import names_of


def create_pipeline(mode: str, own_base: bool = False) -> Pipeline:
    """Score, write the selected rows as LESS does, and say how far the scores can be trusted."""
    base, tokens = names_of("less", own_base)
    stores = ["train_gradients", "validation_gradients"]
    score = Node(nodes.score, [*stores, "targets", "params:influence", "params:machine"], "scores", name="influence")
    if mode == "direct":
        inputs = ["less_checkpoints", tokens, "target_tokens", "targets", base]
        settings = ["params:gradients", "params:influence", "params:machine"]
        score, stores = Node(nodes.score_directly, [*inputs, *settings], "scores", name="influence"), []
    settings = [f"params:{name}" for name in ("influence", "budget", "selection", "machine")]
    shown = ["influence_diagnostics", "influence_figure", "influence_examples"]
    return pipeline(
        [
            score,
            Node(
                nodes.write_selected_files,
                ["scores", "train", "tokens", *settings],
                "selected_data",
                name="selected_data",
            ),
            Node(
                nodes.diagnose_scores,
                ["scores", tokens, "train", "params:influence", *stores[:1]],
                shown,
                name="diagnose_scores",
            ),
        ],
        tags=["influence"],
    )
