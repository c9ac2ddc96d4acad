"""Fine-tuning, and the warm-ups whose checkpoints are looked at."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from winnow.params.base import Params, Precision, Share


class LoraParams(Params):
    """A low-rank adapter."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


class FinetuneParams(Params):
    """Fine-tuning of the target on one arm's mixture."""

    method: Literal["lora", "full"] = "lora"
    lora: LoraParams = LoraParams()
    steps: int | None = Field(default=None, ge=1, description="None: `epochs` decides")
    epochs: float = Field(default=1.0, gt=0)
    batch: int = Field(default=32, ge=1, description="rows per optimizer step, over all processes")
    lr: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "auto"
    checkpoints: int = Field(default=1, ge=1, description="spread evenly over the steps, the last at the end")


class WarmupParams(FinetuneParams):
    """A warm-up or proxy training, whose checkpoints are looked at; or the checkpoints of another trainer."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    base: str | None = Field(default=None, description="hub id or folder of its own model; None: the target's")
    share: Share = Field(default=1.0, description="of the train split, drawn at random")
    seed: int = 0
    checkpoints: int = Field(default=15, ge=1, description="spread evenly over the steps, the last at the end")
    save_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints, in place of their number"
    )
    moments: bool = Field(default=True, description="keep the optimizer's moments, which gradient features need")
    record: bool = Field(default=False, description="write the losses of the batches just trained on, too")
    folder: Path | None = Field(default=None, alias="from", description="checkpoint-* folders of another trainer")
