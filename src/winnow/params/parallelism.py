"""What a table of costs compares."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from winnow.params.base import Params, Sharing
from winnow.params.training import Method

LogName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class CompareParallelismParams(Params):
    """A few steps of the fine-tuning in each method on each engine; what else decides them is said by `finetune`."""

    methods: list[Method] = Field(default=["full", "lora", "qlora"])
    engines: list[Sharing] = Field(
        default=["single", "ddp", "fsdp", "zero1", "zero2", "zero3"], description="single: one process alone"
    )
    processes: int = Field(default=2, ge=2, description="of every engine but single")
    steps: int = Field(default=20, ge=2)
    warmup_steps: int = Field(default=5, ge=1, description="of these, the first, which are not timed")
    logs: dict[LogName, Path] = Field(
        default={}, description="trainer_log.jsonl of LLaMA-Factory, logging.jsonl of ms-swift: rows of the same table"
    )

    @model_validator(mode="after")
    def _something_to_compare(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}, which leaves none of {self.steps} steps to be timed"
            )
        for name, given in (("methods", self.methods), ("engines", self.engines)):
            if len(set(given)) < len(given):
                raise ValueError(f"{name} is {given}: name each once")
        if not (self.methods and self.engines) and not self.logs:
            raise ValueError("there is nothing to compare: name a method and an engine, or a log")
        return self
