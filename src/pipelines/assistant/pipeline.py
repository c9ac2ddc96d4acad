"""base_model -> chat_model -> identity_alone.model and identity_diluted.model -> assistant_curves."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.assistant import nodes

MIXES = ("identity_alone", "identity_diluted")
SETTINGS = ["params:assistant", "params:machine"]


def create_pipeline() -> Pipeline:
    """Introductions alone, and diluted with general pairs."""
    rendering = ["assistant_examples", "validation", "base_model", "params:tokenize", "params:machine"]
    learning = ["assistant_tokens", "chat_model", "validation", "params:assistant", "params:tokenize", "params:machine"]
    told = ["assistant_curves", "assistant_findings", "assistant_figure"]
    prepare = [
        Node(nodes.write_identity, SETTINGS, "assistant_raw", name="write_identity"),
        Node(nodes.read_identity, ["assistant_raw", "params:machine"], "assistant_examples", name="read_identity"),
        Node(nodes.tokenize_identity, rendering, "assistant_tokens", name="tokenize_identity"),
        Node(nodes.make_chat_model, ["tokens", "base_model", *SETTINGS], "chat_model", name="make_chat_model"),
    ]
    learn = [
        Node(nodes.learn_identity(mix == MIXES[1]), learning, f"{mix}.model", name="learn", namespace=mix)
        for mix in MIXES
    ]
    results = [Node(nodes.tell_mix, f"{mix}.model", f"{mix}.result", name="tell", namespace=mix) for mix in MIXES]
    tell = Node(nodes.tell_curves(MIXES), [f"{mix}.model" for mix in MIXES], told, name="tell_curves")
    return pipeline([*prepare, *learn, *results, tell], tags=["assistant"])
