"""What a training costs: some of its steps, of which the first ones are not timed, and nothing is saved."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from transformers import TrainerCallback

from winnow.records.tokens import TokenTable
from winnow.training.data import Rows
from winnow.training.finetune import make_trainer
from winnow.training.plan import Plan


@dataclass(frozen=True)
class Measured:
    """``steps`` has a row per step (step, seconds, loss); the rates are those of the steps after the warm-up."""

    began: float
    steps: pd.DataFrame
    step_seconds: float
    tokens_per_second: float
    supervised_tokens_per_second: float


class Clock(TrainerCallback):
    """Notes when each step ended, with all that the device still had to do for it."""

    def __init__(self, plan: Plan, report: Callable[..., None]) -> None:
        self.plan = plan
        self.report = report
        self.began = 0.0
        self.ends: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All is loaded and wrapped."""
        self.began = time.time()
        self.ends = [time.monotonic()]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint would cost more than the steps."""
        control.should_save = False
        if self.plan.device != "cpu":
            torch.cuda.synchronize()
        self.ends.append(time.monotonic())
        self.report(done=state.global_step, total=self.plan.steps, unit="steps")


def measure(model: Any, tokens: TokenTable, plan: Plan, warmup_steps: int, report: Callable[..., None]) -> Measured:
    """Train ``model`` for the plan's steps, as a fine-tuning would, and say what they took."""
    rows = Rows(tokens, plan.order)
    trainer = make_trainer(model, rows, plan)
    clock = Clock(plan, report)
    trainer.add_callback(clock)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trainer.accelerator.free_memory()
    seconds = [end - start for start, end in zip(clock.ends, clock.ends[1:], strict=False)]
    steps = pd.DataFrame({"step": range(1, plan.steps + 1), "seconds": seconds, "loss": losses})
    timed = sum(seconds[warmup_steps:])
    trained = tokens.rows(plan.order[warmup_steps * plan.params.batch :])
    return Measured(
        clock.began,
        steps,
        timed / (plan.steps - warmup_steps),
        sum(len(row.input_ids) for row in trained) / timed,
        sum(int(row.supervised.sum()) for row in trained) / timed,
    )
