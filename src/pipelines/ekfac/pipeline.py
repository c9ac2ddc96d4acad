"""checkpoints of a warm-up, tokens, target_tokens -> ekfac_factors, ekfac_train_features, ekfac_target_features."""

from collections.abc import Mapping

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.ekfac import nodes
from pipelines.warmup.pipeline import names_of
from winnow.errors import BadSetting
from winnow.params import EkfacParams, WarmupParams


def create_pipeline(params: EkfacParams, warmups: Mapping[str, WarmupParams]) -> Pipeline:
    """Fit the curvature of the warm-up that is named, and whiten gradients by it."""
    # Targets are tokenized for the warm-up `less`.
    if warmups[params.warmup].base != warmups["less"].base:
        raise BadSetting(
            f"`influence.ekfac.warmup` is {params.warmup}, whose base model {warmups[params.warmup].base!r} is not "
            f"that of `less` ({warmups['less'].base!r}), for which the targets are tokenized. Take `less`, or give "
            "both the same base."
        )
    own_base = warmups[params.warmup].base is not None
    base, tokens = names_of(params.warmup, own_base)
    checkpoints = f"{params.warmup}_checkpoints"
    settings = [base, "params:gradients", "params:influence", "params:machine"]
    fit = Node(nodes.fit_factors, [checkpoints, tokens, *settings], "ekfac_factors", name="ekfac_factors")
    sides = (("train", "train", tokens), ("target", "validation", "target_tokens"))
    whiten = [
        Node(
            nodes.whiten(split),
            ["ekfac_factors", checkpoints, rows, *settings],
            f"ekfac_{side}_features",
            name=f"ekfac_{side}_features",
        )
        for side, split, rows in sides
    ]
    return pipeline([fit, *whiten], tags=["ekfac"])
