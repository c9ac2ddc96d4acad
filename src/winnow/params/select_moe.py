"""A mixture of experts that selects data."""

from typing import Literal, Self

from pydantic import Field, model_validator

from winnow.params.base import Params, Precision, Share
from winnow.params.training import FinetuneParams, LoraParams


class ConstraintParams(Params):
    """How much of a token's routing may go to trash."""

    weight: float = Field(default=0.01, ge=0, description="beside the loss of the next tokens")
    kind: Literal["ratio", "likelihood"] = Field(default="ratio", description="likelihood: of a Beta distribution")
    alpha: float = Field(default=1.0, gt=0)
    beta: float = Field(default=2.0, gt=0)
    mass: Literal["softmax", "topk"] = Field(
        default="softmax", description="of all trash experts; topk: of those selected, which can lose its gradient"
    )


class SelectorWarmupParams(FinetuneParams):
    """Stage 1: the routers alone are trained, or low-rank adapters of them."""

    method: Literal["lora", "full"] = Field(default="full", description="full: the gates themselves")
    lora: LoraParams = LoraParams(rank=8, alpha=16)
    share: Share = Field(default=0.05, description="of the train split, drawn at random")
    seed: int = 0
    epochs: float = Field(default=4.0, gt=0)
    batch: int = Field(default=4, ge=1, description="rows per optimizer step, over all processes")
    lr: float = Field(default=1e-4, gt=0)
    checkpoints: int = Field(default=4, ge=1, description="spread evenly over the steps, the last at the end")

    @model_validator(mode="after")
    def _nothing_that_routers_do_not_know(self) -> Self:
        if self.precision == "fp16" or self.packing or self.liger or self.watched or self.weighting == "loss":
            raise ValueError("routers are trained in fp32 or bf16, without packing, liger, loss weights and samples")
        return self


class SelectorScoreParams(Params):
    """Stage 2: the quality of each example."""

    share: Share = Field(default=1.0, description="of the train split, drawn at random; the rest is never selected")
    seed: int = 0
    batch: int = Field(default=16, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=8192, ge=1, description="padded tokens at once, at most; a long row goes alone")
    shard_rows: int = Field(default=1024, ge=1, description="rows that a kill can lose, about")
    clusters: int = Field(default=50, ge=1, description="of the arm select_moe_diverse")


class SelectMoeParams(Params):
    """A mixture of experts that selects data by what its routers throw away."""

    base: str | None = Field(default=None, description="hub id or folder; None: the fabricated mixture of experts")
    revision: str | None = None
    trust_remote_code: bool = False
    trash_experts: int | None = Field(default=None, ge=1, description="None: as many as experts a token has")
    trash_init_std: float = Field(default=0.02, ge=0)
    seed: int = 0
    dtype: Precision = Field(default="auto", description="of the model; auto: bf16 on CUDA, fp32 on a CPU")
    full_checkpoint: bool = Field(default=False, description="write the whole model, too, not its gates alone")
    tokens: Literal["all", "supervised"] = Field(default="all", description="that constraint and quality look at")
    tolerance: float | None = Field(default=None, gt=0, description="of logits; None: by dtype")
    constraint: ConstraintParams = ConstraintParams()
    warmup: SelectorWarmupParams = SelectorWarmupParams()
    score: SelectorScoreParams = SelectorScoreParams()
