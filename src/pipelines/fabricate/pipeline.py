"""params:fabricate -> fabricated, planted, base_model."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.fabricate import nodes

_INPUTS = ["params:fabricate", "params:machine"]


def create_pipeline() -> Pipeline:
    """The raw files of the demo."""
    return pipeline([Node(nodes.fabricate_corpus, _INPUTS, ["fabricated", "planted"], name="fabricate_corpus")])


def create_base_model_pipeline() -> Pipeline:
    """The base model of the demo."""
    return pipeline([Node(nodes.fabricate_base_model, _INPUTS, "base_model", name="fabricate_base_model")])


def create_selector_pipeline() -> Pipeline:
    """The mixture of experts of the demo."""
    return pipeline([Node(nodes.fabricate_selector, _INPUTS, "selector_base_model", name="fabricate_selector")])
