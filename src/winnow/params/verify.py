"""How selections are verified: against planted truth, against each other, against held-out rows."""

from pydantic import Field

from winnow.params.base import Params


class ContaminationParams(Params):
    """Training rows that overlap with held-out and validation rows."""

    ngram: int = Field(default=13, ge=3, description="words in a row that count as overlap; a shorter row is one whole")


class VerifyParams(Params):
    """The checks, and the arms that they look at."""

    arms: list[str] | None = Field(
        default=None, min_length=1, description="None: those of `study.arms` that select; `random` is always among them"
    )
    contamination: ContaminationParams = ContaminationParams()
