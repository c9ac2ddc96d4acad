"""Which arms are compared, at which budget, and how they are evaluated."""

from typing import Any, Literal, Self

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


class EvaluateParams(Params):
    """Exact match and response loss per domain."""

    split: Literal["validation", "held_out"] = "held_out"
    limit: int | None = Field(default=None, ge=1, description="rows per domain")
    decoding: Literal["teacher_forced", "generate"] = "teacher_forced"
    max_new_tokens: int = Field(default=256, ge=1)
    batch: int = Field(default=128, ge=1, description="rows at once, at most")
    batch_tokens: int = Field(default=8192, ge=1, description="padded tokens at once, at most; a long row goes alone")
    precision: Precision = "auto"


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
