"""tokens, base_model, targets, influence_matrix -> leave_out_losses and what they tell of each cluster."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.leave_out import nodes


def create_pipeline() -> Pipeline:
    """Train without each cluster of the matrix, and set the losses beside what the matrix foretold."""
    settings = [f"params:{name}" for name in ("finetune", "evaluate", "tokenize", "verify.leave_out", "machine")]
    inputs = ["tokens", "base_model", "targets", "influence_matrix", *settings]
    shown = ["leave_out_table", "leave_out_figure", "leave_out_metrics"]
    return pipeline(
        [
            Node(nodes.leave_out, inputs, "leave_out_losses", name="leave_out"),
            Node(nodes.show_leave_out, ["influence_matrix", "leave_out_losses"], shown, name="show_leave_out"),
        ],
        tags=["leave_out"],
    )
