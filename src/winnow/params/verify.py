"""How selections are verified: against planted truth, against each other, against held-out rows, by retraining."""

from pydantic import Field

from winnow.params.base import Params


class ContaminationParams(Params):
    """Training rows that overlap with held-out and validation rows."""

    ngram: int = Field(default=13, ge=3, description="words in a row that count as overlap; a shorter row is one whole")


class LeaveOutParams(Params):
    """Models retrained without one cluster at a time."""

    seeds: int = Field(default=3, ge=2, description="trainings without each cluster, and with all of them")
    rows: int | None = Field(default=None, ge=1, description="of the pool, at random; None: all of it")
    steps: int | None = Field(default=None, ge=1, description="of each training; None: as `finetune` has it")


class VerifyParams(Params):
    """The checks, and the arms that they look at."""

    arms: list[str] | None = Field(
        default=None, min_length=1, description="None: those of `study.arms` that select; `random` is always among them"
    )
    contamination: ContaminationParams = ContaminationParams()
    leave_out: LeaveOutParams = LeaveOutParams()
