"""Fine-tuning, and the warm-ups whose checkpoints are looked at."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from winnow.params.base import Params, Share


class LoraParams(Params):
    """A low-rank adapter."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


class SamplesParams(Params):
    """Prompts that the model answers while it is trained: before, at each save, after, and every so many steps."""

    prompts: list[str] = Field(default=[], description="single questions; their group is `prompts`")
    files: list[str] = Field(
        default=[], description="files or globs of conversations, a group each; the last answer is what is expected"
    )
    limit: int | None = Field(default=None, ge=1, description="conversations per file, drawn at random; None: all")
    every: int | None = Field(default=None, ge=1, description="steps; None: at saves alone")
    max_new_tokens: int = Field(default=64, ge=1)


Method = Literal["lora", "qlora", "full"]


class FinetuneParams(Params):
    """Fine-tuning of the target on one arm's mixture."""

    method: Method = Field(default="lora", description="qlora: on a base in 4 bits")
    lora: LoraParams = LoraParams()
    steps: int | None = Field(default=None, ge=1, description="None: `epochs` decides")
    epochs: float = Field(default=1.0, gt=0)
    batch: int = Field(default=32, ge=1, description="rows per optimizer step, over all processes")
    lr: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="of the base under an adapter, and of products; auto: bf16 on CUDA, fp32 on a CPU"
    )
    packing: bool = Field(default=False, description="short rows share a sequence, and do not see each other")
    weighting: Literal["repeat", "loss"] = Field(
        default="repeat", description="how a row's multiplicity counts; loss: it comes once, its loss times that"
    )
    liger: bool = Field(default=False, description="Liger's fused kernels, on CUDA")
    checkpoints: int = Field(default=1, ge=1, description="spread evenly over the steps, the last at the end")
    save_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints, in place of their number"
    )
    keep_checkpoints: int | None = Field(default=None, ge=1, description="the last so many; None: all")
    moments: bool = Field(default=False, description="keep the optimizer's moments, which gradient features need")
    validation_rows: int = Field(
        default=0, ge=0, description="of the validation split, at random, whose loss is told at each save"
    )
    samples: SamplesParams = SamplesParams()

    @property
    def watched(self) -> bool:
        """Whether there is more to tell of a training than its own loss."""
        return bool(self.validation_rows or self.samples.prompts or self.samples.files)

    def alone(self, steps: int) -> Self:
        """The same training with so many steps, without what is saved or looked at meanwhile."""
        saved: dict[str, Any] = {"checkpoints": 1, "save_every": None, "keep_checkpoints": None, "moments": False}
        return self.model_copy(
            update={"steps": steps, "epochs": 1.0, **saved, "validation_rows": 0, "samples": SamplesParams()}
        )


class WarmupParams(FinetuneParams):
    """A warm-up or proxy training, whose checkpoints are looked at; or the checkpoints of another trainer."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    base: str | None = Field(default=None, description="hub id or folder of its own model; None: the target's")
    share: Share = Field(default=1.0, description="of the train split, drawn at random")
    seed: int = 0
    checkpoints: int = Field(default=15, ge=1, description="spread evenly over the steps, the last at the end")
    moments: bool = Field(default=True, description="keep the optimizer's moments, which gradient features need")
    record: bool = Field(default=False, description="write the losses of the batches just trained on, too")
    folder: Path | None = Field(default=None, alias="from", description="checkpoint-* folders of another trainer")

    @model_validator(mode="after")
    def _nothing_for_fine_tuning_alone(self) -> Self:
        if self.record and (self.packing or self.liger):
            raise ValueError("record needs each row's own logits, which packing and liger do not leave; choose one")
        if self.watched:
            raise ValueError("samples and validation_rows are for fine-tuning; a warm-up is looked at by trajectories")
        return self
