"""How selections and estimates are verified: planted truth, each other, held-out rows, retraining."""

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


class DatamodelsParams(Params):
    """Models trained on random subsets of rows, whose losses an estimator of influence should predict."""

    subsets: int = Field(default=64, ge=8, description="trainings, each on a random subset of the rows")
    share: float = Field(default=0.5, gt=0, lt=1, description="of the rows that are in a subset")
    rows: int | None = Field(default=300, ge=4, description="of the pool, at random; None: all of it")
    steps: int = Field(default=40, ge=1, description="of each training; all else is as in `finetune`")
    seeds: int = Field(default=1, ge=1, description="trainings for each subset, whose losses are averaged")
    draws: int = Field(default=2000, ge=100, description="of the bootstrap that confidence intervals come from")
    seed: int = Field(default=0, description="of rows, subsets, the bootstrap and the random scores")


class VerifyParams(Params):
    """The checks, and the arms that they look at."""

    arms: list[str] | None = Field(
        default=None, min_length=1, description="None: those of `study.arms` that select; `random` is always among them"
    )
    contamination: ContaminationParams = ContaminationParams()
    leave_out: LeaveOutParams = LeaveOutParams()
    datamodels: DatamodelsParams = DatamodelsParams()
