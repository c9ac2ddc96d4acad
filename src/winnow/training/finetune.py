"""Fine-tune a model on one seed's mix, with the transformers Trainer: a killed training ends with the same bytes."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from winnow.errors import BadSetting
from winnow.params import FinetuneParams, Machine
from winnow.records.tokens import TokenTable
from winnow.training.checkpoints import keep_moments
from winnow.training.data import Rows, collate
from winnow.training.model import dtype_of
from winnow.training.recorder import Recorder, join_recorded

HISTORY = "history.parquet"
COST = "cost.json"
CLOCK = "seconds.json"
# What a model says of a step besides its loss.
TOLD = "told"


class _OrderedTrainer(Trainer):
    """Trains the rows in the order they are given: the order is planned before, for every number of processes."""

    recorder: Recorder | None = None
    # The field for a model whose loss is over all tokens, not the supervised ones alone.
    count_tokens_as: str | None = None

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def get_batch_samples(self, *arguments: Any) -> tuple[list[Any], Any]:
        samples, supervised = super().get_batch_samples(*arguments)
        if self.count_tokens_as is not None:
            own = sum((batch["attention_mask"].sum() for batch in samples), torch.zeros((), dtype=torch.long))
            total = self.accelerator.gather(own.to(self.args.device)).sum()
            for batch in samples:
                batch[self.count_tokens_as] = total
        return samples, supervised

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **options: Any) -> Any:
        example_ids = inputs.pop("example_ids")
        if self.recorder is None:
            return super().compute_loss(model, inputs, **options)
        loss, outputs = super().compute_loss(model, inputs, **{**options, "return_outputs": True})
        self.recorder.add(self.state.global_step + 1, example_ids, outputs.logits, inputs["labels"])
        return (loss, outputs) if options.get("return_outputs") else loss


class _Course(TrainerCallback):
    """Tells the launcher the loss of every step, and saves at the planned ones."""

    def __init__(self, plan: "Plan", report: Callable[..., None], recorder: Recorder | None) -> None:
        self.recorder = recorder
        self.told = plan.told
        self.curve = plan.curve or f"finetune/loss/seed_{plan.seed}"
        self.total = plan.steps
        self.planned = plan.saved_steps
        self.report = report
        self.clock_file = plan.folder / CLOCK
        self.started = time.monotonic() - _seconds_before(self.clock_file)

    @property
    def seconds(self) -> float:
        """How long the training has taken, with the attempts before a kill up to their last checkpoint."""
        return time.monotonic() - self.started

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_save = state.global_step in self.planned
        if self.recorder is not None and control.should_save:
            self.recorder.save(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.clock_file.write_text(json.dumps(self.seconds))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            metrics = {self.curve: float(logs["loss"])}
            if self.told is not None:
                # In the trainer's own log they survive a kill with the checkpoint.
                state.log_history[-1][TOLD] = told = self.told()
                metrics |= {f"{self.curve}/{name}": value for name, value in told.items()}
            self.report(done=state.global_step, total=self.total, unit="steps", step=state.global_step, metrics=metrics)


@dataclass(frozen=True)
class Plan:
    """What one seed's training needs besides the model."""

    params: FinetuneParams
    seed: int
    order: list[str]
    folder: Path
    base: str
    pad_id: int
    machine: Machine
    device: str
    save_every: int | None = None
    moments: bool = True
    record: bool = False
    curve: str = ""
    told: Callable[[], dict[str, float]] | None = None
    count_tokens_as: str | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return len(self.order) // self.params.batch

    @property
    def saved_steps(self) -> set[int]:
        """The steps after which a checkpoint is saved; the last is always one of them."""
        if self.save_every is not None:
            return {*range(self.save_every, self.steps, self.save_every), self.steps}
        count = self.params.checkpoints
        return {max(1, round(self.steps * number / count)) for number in range(1, count + 1)}


def train(model: Any, tokens: TokenTable, plan: Plan, report: Callable[..., None]) -> dict[str, float]:
    """Train ``model`` in place; leave weights, checkpoints and history in the plan's folder; return the cost."""
    if (plan.folder / HISTORY).exists():
        return _finish_interrupted(model, plan)
    rows = Rows(tokens, plan.order)
    recorder = Recorder(plan.folder, int(os.environ.get("RANK", "0"))) if plan.record else None
    course = _Course(plan, report, recorder)
    trainer = _OrderedTrainer(
        model=model,
        args=_arguments(plan),
        train_dataset=rows,
        data_collator=partial(collate, pad_id=plan.pad_id),
        callbacks=[course],
    )
    trainer.recorder = recorder
    trainer.count_tokens_as = plan.count_tokens_as
    trainer.remove_callback(PrinterCallback)
    last = _last_checkpoint(plan.folder)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    trainer.accelerator.wait_for_everyone()
    cost = {"seconds": course.seconds, "tokens_per_second": rows.tokens() / course.seconds}
    if trainer.is_world_process_zero():
        model.save_pretrained(plan.folder)
        (plan.folder / COST).write_text(json.dumps(cost))
        _write_history(trainer.state.log_history, plan.folder / HISTORY)
        _keep_what_is_portable(model, plan)
    trainer.accelerator.free_memory()
    return cost


def _finish_interrupted(model: Any, plan: Plan) -> dict[str, float]:
    """The training was complete when it was killed; its history is written last."""
    _keep_what_is_portable(model, plan)
    return dict(json.loads((plan.folder / COST).read_text()))


def _arguments(plan: Plan) -> TrainingArguments:
    params, machine = plan.params, plan.machine
    per_process, rest = divmod(params.batch, machine.processes)
    micro = min(machine.micro_batch or per_process, per_process)
    if rest or per_process % micro:
        raise BadSetting(
            f"`finetune.batch` is {params.batch}: it cannot be shared by {machine.processes} processes in "
            f"micro-batches of {micro}. Choose a multiple of {machine.processes * micro}, or change "
            "`machine.micro_batch`."
        )
    return TrainingArguments(
        output_dir=str(plan.folder),
        max_steps=plan.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=per_process // micro,
        learning_rate=params.lr,
        lr_scheduler_type="constant_with_warmup" if params.schedule == "constant" else params.schedule,
        warmup_steps=round(params.warmup_share * plan.steps),
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        optim="adamw_torch",
        seed=plan.seed,
        bf16=dtype_of(params.precision, plan.device) == torch.bfloat16,
        use_cpu=plan.device == "cpu",
        average_tokens_across_devices=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=plan.steps,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=plan.device != "cpu",
        remove_unused_columns=False,
    )


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: the trainer's state is written last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except ValueError:
        return False


def _write_history(log: list[dict[str, Any]], path: Path) -> None:
    rows = [entry for entry in log if "loss" in entry]
    columns = {"step": "step", "loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
    scratch = path.with_suffix(".writing")
    table = pd.DataFrame(rows)[list(columns)].rename(columns=columns)
    told = pd.DataFrame([entry.get(TOLD, {}) for entry in rows])
    # A resumed log has its names in another order.
    pd.concat([table, told.sort_index(axis=1)], axis=1).to_parquet(scratch, index=False)
    scratch.replace(path)


def _seconds_before(file: Path) -> float:
    """What `on_save` left; a kill while it was written loses only this."""
    try:
        return float(file.read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


def _keep_what_is_portable(model: Any, plan: Plan) -> None:
    """Drop pickles, random states and texts with paths: the rest is the same after a kill and a resume."""
    join_recorded(plan.folder)
    for file in plan.folder.glob("checkpoint-*/optimizer.pt"):
        if plan.moments:
            keep_moments(file.parent, model)
    for pattern in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state*.pth", "README.md", CLOCK):
        for file in plan.folder.rglob(pattern):
            file.unlink()
    for file in plan.folder.glob("checkpoint-*/trainer_state.json"):
        state = json.loads(file.read_text())
        kept = {name: state[name] for name in ("global_step", "max_steps", "log_history")}
        _replace(file, json.dumps(kept, indent=1))
    for file in plan.folder.rglob("adapter_config.json"):
        config = {**json.loads(file.read_text()), "base_model_name_or_path": plan.base}
        _replace(file, json.dumps(config, indent=2, sort_keys=True))


def _replace(file: Path, text: str) -> None:
    """A kill in between must leave the old text or the new one."""
    scratch = file.with_suffix(".writing")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)
