"""tokens, base_model -> <name>_checkpoints, for one warm-up."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.tokenize.nodes import tokenize
from pipelines.warmup import nodes


def create_pipeline(name: str, own_base: bool = False) -> Pipeline:
    """Warm up; with a model of its own it has tokens of its own."""
    params = f"params:warmup.{name}"
    base, tokens, before = "base_model", "tokens", []
    if own_base:
        base, tokens = names_of(name, own_base=True)
        inputs = ["train", "validation", base, "params:tokenize", "params:machine"]
        before = [
            Node(nodes.use_own_base, [params, "params:machine"], base, name=f"{name}_base_model"),
            Node(tokenize, inputs, tokens, name=f"{name}_tokenize"),
        ]
    inputs = [tokens, base, params, "params:machine"]
    train = Node(nodes.named_warm_up(name), inputs, f"{name}_checkpoints", name=f"{name}_warmup")
    return pipeline([*before, train], tags=["warmup"])


def names_of(name: str, own_base: bool) -> tuple[str, str]:
    """The datasets of a warm-up's base model and tokens."""
    return (f"{name}_base_model", f"{name}_tokens") if own_base else ("base_model", "tokens")
