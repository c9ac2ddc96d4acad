"""What all parameter models share, and the machine that stages run on."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["auto", "fp32", "bf16"]
Engine = Literal["ddp", "fsdp", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"]
# One process that shares with nobody is a way to train, too.
Sharing = Literal["single", Engine]


class Params(BaseModel):
    """Base of all parameter models: immutable, and strict about unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(Params):
    """Where a stage runs. Never part of a fingerprint."""

    data_root: Path
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = Field(default=1, ge=1)
    threads: int | None = Field(default=None, ge=1, description="threads per process; None: all cores shared evenly")
    side_by_side: int = Field(
        default=1,
        ge=1,
        description="models or checkpoints at once, a process each; on CUDA a device each, and no more than there are",
    )
    engine: Engine = Field(default="ddp", description="of trainings: what each process holds of model and optimizer")
    accelerate_config: Path | None = Field(
        default=None, description="file for `accelerate launch`; None: that of the engine, in conf/multi_gpu"
    )
    micro_batch: int | None = Field(default=None, ge=1, description="rows per process and step; None: the whole batch")
    gradient_checkpointing: bool = Field(
        default=False, description="activations are computed twice in place of being kept: slower, less memory"
    )
    forkserver: bool = True

    @property
    def is_sharded(self) -> bool:
        """Whether a training's process holds a part of each weight alone."""
        return self.engine == "fsdp" or self.engine.startswith("zero3")

    def one_process(self) -> "Machine":
        """The same machine for a stage that several processes would not help."""
        return self.model_copy(update={"processes": 1})
