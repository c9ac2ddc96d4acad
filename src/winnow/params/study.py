"""Which arms are compared, at which budget, and how they are evaluated."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from winnow.params.base import Params, Precision, Share


class BudgetParams(Params):
    """How much a selection may take: exactly one of rows, tokens and share."""

    rows: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    share: Share | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"budget needs exactly one of rows, tokens, share, the others null; it has {given}")
        return self


class SelectionParams(Params):
    """What holds for every arm that selects."""

    deduplicate: Literal["none", "exact", "near"] = Field(
        default="none", description="repeats of a chosen row are passed over, and the next best taken"
    )
    similarity: float = Field(default=0.8, gt=0, le=1, description="share of common five-token runs that is near")


Shots = Annotated[int, Field(ge=0)]
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")]


class EvaluateParams(Params):
    """Exact match and response loss per domain; and benchmark tasks of lm-evaluation-harness, where some are named."""

    split: Literal["validation", "held_out"] = "held_out"
    limit: int | None = Field(default=None, ge=1, description="rows per domain")
    decoding: Literal["teacher_forced", "generate"] = "teacher_forced"
    max_new_tokens: int = Field(default=256, ge=1)
    batch: int = Field(default=128, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=8192, ge=1, description="padded tokens at once, at most; a long row goes alone")
    precision: Precision = "auto"
    tasks: list[TaskName] = Field(default=[], description="benchmark tasks by lm-eval's names")
    data: dict[Literal["gsm8k", "mmlu", "bbh", "tydiqa"], Path] = Field(
        default={}, description="folder of a benchmark's own files; without one lm-eval takes it from the hub"
    )
    include_path: Path | None = Field(default=None, description="folder with task YAMLs of one's own")
    num_fewshot: Shots | list[Shots] | None = Field(default=None, description="None: as each task has it")
    task_limit: int | None = Field(default=None, ge=1, description="rows per task")
    task_batch: int = Field(default=16, ge=1, description="rows of a task at once")
    apply_chat_template: bool = Field(default=False, description="ask in the chat template: for chat models")

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for name, given in (("tasks", self.tasks), ("num_fewshot", self.shots)):
            if len(set(given)) < len(given) or (name == "num_fewshot" and not given):
                raise ValueError(f"{name} is {given}: name each once, and at least one count")
        return self

    @property
    def shots(self) -> list[int | None]:
        """The counts of examples that each task is asked with; None: the task's own."""
        return list(self.num_fewshot) if isinstance(self.num_fewshot, list) else [self.num_fewshot]

    @property
    def own_tasks(self) -> list[Path]:
        """The folder with the user's task YAMLs, where there is one."""
        return [self.include_path.expanduser()] if self.include_path else []

    def of_held_out(self) -> dict[str, Any]:
        """What decides the answers to held-out rows."""
        return self.model_dump(mode="json", exclude=_OF_TASKS)

    def of_tasks(self) -> dict[str, Any]:
        """What decides the answers to benchmark tasks, beside their files."""
        settings = self.model_dump(mode="json", include=_OF_TASKS - {"data", "include_path"} | {"precision"})
        return {**settings, "num_fewshot": self.shots}


_OF_TASKS = {"tasks", "data", "include_path", "num_fewshot", "task_limit", "task_batch", "apply_chat_template"}


class ArmParams(Params):
    """What may be said of one arm: its seeds, and its departures from the shared fine-tuning."""

    seeds: int = Field(default=5, ge=1)
    finetune: dict[str, Any] = Field(default_factory=dict)


class StudyParams(Params):
    """The arms that `kedro run` compares."""

    name: str = "demo"
    arms: list[str] = Field(default=["base", "all", "random", "length"], min_length=1)
    rounds: int = Field(default=1, ge=1, le=9, description="of influence and mixtures, each from the mix before")
    rounds_by: str = Field(default="pareto_balanced", description="the arm whose mix the next round begins with")
