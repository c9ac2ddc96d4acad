"""weights, training_mix, train, validation, held_out -> verification: no model is trained and none is run."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.verify import nodes


def create_arm_pipeline(arm: str) -> Pipeline:
    """Where an arm puts the rows of the pool."""
    inputs = [f"{arm}.weights", f"{arm}.training_mix", "tokens"]
    node = Node(nodes.place_rows, inputs, f"{arm}.placed", name="place_rows", namespace=arm)
    return pipeline([node], tags=[arm, "verify"])


def create_pipeline(arms: tuple[str, ...], fabricated: bool) -> Pipeline:
    """Verify these arms; where the data are generated, by what was planted, too."""
    placed = [f"{arm}.placed" for arm in arms]
    splits = ["train", "validation", "held_out"]
    found = ["overlap_table", "near_duplicates_table", "contamination_table"]
    checks = [
        Node(nodes.compare_with_each_other(arms), placed, ["overlap_table", "overlap_figure"], name="verify_overlap"),
        Node(
            nodes.count_near_duplicates(arms),
            ["tokens", "params:selection", *placed],
            "near_duplicates_table",
            name="verify_near_duplicates",
        ),
        Node(
            nodes.find_contamination,
            [*splits, "params:verify.contamination", "params:machine"],
            "contamination",
            name="verify_contamination",
        ),
        Node(
            nodes.show_contamination(arms),
            ["contamination", "train", "tokens", *placed],
            ["contamination_table", "contamination_examples"],
            name="show_contamination",
        ),
    ]
    if fabricated:
        inputs = ["tokens", "planted", *placed]
        checks.append(Node(nodes.compare_with_planted(arms), inputs, "planted_table", name="verify_planted"))
        found.append("planted_table")
    last = Node(nodes.sum_up, found, ["verification", "verification_metrics"], name="sum_up_verification")
    return pipeline([*checks, last], tags=["verify"])
