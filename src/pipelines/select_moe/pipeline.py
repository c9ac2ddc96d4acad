"""A mixture of experts -> selector_converted -> selector_gates -> selector_quality, and what they show."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.fabricate import create_selector_pipeline
from pipelines.select_moe import convert_nodes, nodes
from pipelines.tokenize.nodes import tokenize
from winnow.params import SelectMoeParams

BASE = "selector_base_model"
SETTINGS = ["params:select_moe", "params:machine"]


def create_pipelines(params: SelectMoeParams, fabricated: bool) -> dict[str, Pipeline]:
    """The stages, in order; where the data are generated, quality is held to what was planted."""
    own = pipeline([Node(nodes.use_selector, SETTINGS, BASE, name="selector_base_model")])
    tokens = ["train", "validation", BASE, "params:tokenize", "params:machine"]
    convert = Node(convert_nodes.convert_selector, [BASE, *SETTINGS], "selector_converted", name="select_moe_convert")
    verify = Node(
        convert_nodes.verify_selector,
        [BASE, "selector_converted", *SETTINGS],
        ["selector_verification", "selector_report"],
        name="select_moe_verify",
    )
    prepare = Node(tokenize, tokens, "selector_tokens", name="selector_tokenize")
    warm_up = Node(
        nodes.warm_up_routers,
        ["selector_converted", BASE, "selector_tokens", *SETTINGS],
        "selector_gates",
        name="select_moe_warmup",
    )
    score = Node(
        nodes.score_pool,
        ["selector_gates", BASE, "selector_tokens", *SETTINGS],
        "selector_quality",
        name="select_moe_score",
    )
    show = Node(
        nodes.show_quality,
        ["selector_quality", "selector_gates", "train", "params:select_moe"],
        ["selector_quality_figure", "selector_layers_figure", "selector_trash_figure", "selector_examples"],
        name="show_quality",
    )
    write = Node(
        nodes.write_selected_data,
        ["selector_quality", "train", "tokens", "params:budget", "params:machine"],
        "selector_selected",
        name="selector_selected",
    )
    separate = Node(
        nodes.separate,
        ["selector_quality", "planted"],
        ["selector_separation", "selector_metrics"],
        name="separate",
    )
    shown = [score, show, write, *([separate] if fabricated else [])]
    base = create_selector_pipeline() if params.base is None else own
    return {
        "select_moe_convert": base + pipeline([convert], tags=["select_moe"]),
        "select_moe_verify": pipeline([verify], tags=["select_moe"]),
        "select_moe_warmup": pipeline([prepare, warm_up], tags=["select_moe"]),
        "select_moe_score": pipeline(shown, tags=["select_moe"]),
    }
