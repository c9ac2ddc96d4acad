"""The transformers Trainer on rows whose order is planned, with loss weights, packing and every engine."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback

from winnow.training.data import IGNORED
from winnow.training.engines import require_engine, settle, whole_weights
from winnow.training.plan import Plan
from winnow.training.recorder import Recorder

CLOCK = "seconds.json"
# What a model says of a step besides its loss.
TOLD = "told"


class OrderedTrainer(Trainer):
    """Trains the rows in the order they are given: the order is planned before, for every number of processes."""

    def __init__(self, plan: Plan, recorder: Recorder | None, **options: Any) -> None:
        self.plan = plan
        self.recorder = recorder
        super().__init__(**options)
        # Some models take no count of the whole batch's tokens; their own loss is that of the micro-batch alone.
        self.owns_loss = plan.weights is not None or not self.model_accepts_loss_kwargs
        if self.owns_loss and recorder is None:
            self.loss_is_scaled_for_ga = True

    def create_accelerator_and_postprocess(self) -> None:
        """Besides, let the engine be what it is called."""
        super().create_accelerator_and_postprocess()
        settle(self)

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def _prepare_for_training(self, *arguments: Any, **options: Any) -> Any:
        prepared = super()._prepare_for_training(*arguments, **options)
        require_engine(self, self.plan.machine)
        return prepared

    def get_batch_samples(self, *arguments: Any) -> tuple[list[Any], Any]:
        """Besides, count what the whole batch weighs, over all micro-batches and processes."""
        samples, supervised = super().get_batch_samples(*arguments)
        if self.owns_loss:
            supervised = self._sum(_weights_of(batch).sum() for batch in samples)
        if self.plan.count_tokens_as is not None:
            total = self._sum(batch["attention_mask"].sum() for batch in samples)
            for batch in samples:
                batch[self.plan.count_tokens_as] = total
        return samples, supervised

    def _sum(self, values: Any) -> torch.Tensor:
        return self.accelerator.gather(sum(values).to(self.args.device)).sum()

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **options: Any) -> Any:
        """The loss of a micro-batch as its part of the whole batch's."""
        example_ids = inputs.pop("example_ids")
        if self.owns_loss and self.recorder is None:
            return self._own_loss(model, inputs, options["num_items_in_batch"])
        if self.recorder is None:
            return super().compute_loss(model, inputs, **options)
        loss, outputs = super().compute_loss(model, inputs, **{**options, "return_outputs": True})
        self.recorder.add(self.state.global_step + 1, example_ids, outputs.logits, inputs["labels"])
        return (loss, outputs) if options.get("return_outputs") else loss

    def _own_loss(self, model: Any, inputs: dict[str, Any], total: torch.Tensor) -> torch.Tensor:
        weights, labels = _weights_of(inputs), inputs["labels"][:, 1:]
        asked = {name: value for name, value in inputs.items() if name not in ("labels", "weights")}
        logits = model(**asked).logits[:, :-1].float()
        losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
        # Processes are averaged over, and each counts the whole batch.
        return (losses * weights).sum() / total * self.accelerator.num_processes

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights as safetensors, whole, whatever shares them; and nothing else."""
        if _internal_call and not isinstance(self.model, PreTrainedModel | PeftModel):
            # A module of our own writes what is its result; to be gone on from, it needs the parameters by their names.
            super().save_model(output_dir, _internal_call)
            return
        weights = whole_weights(self.model, self.plan.machine, keep=self.args.should_save)
        if self.args.should_save:
            Path(output_dir or self.args.output_dir).mkdir(parents=True, exist_ok=True)
            self.model.save_pretrained(output_dir or self.args.output_dir, **weights)


def _weights_of(batch: dict[str, Any]) -> torch.Tensor:
    """What each predicted token counts [rows, length - 1]; nothing where none is supervised."""
    supervised = (batch["labels"][:, 1:] != IGNORED).float()
    return supervised * batch["weights"][:, 1:] if "weights" in batch else supervised


class Course(TrainerCallback):
    """Tells the launcher the loss of every step, saves at the planned ones, and lets the model be looked at."""

    def __init__(self, trainer: OrderedTrainer, report: Callable[..., None]) -> None:
        self.trainer = trainer
        self.report = report
        self.started = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go on with the clock of the attempts before; look at the model before its first step."""
        self.started = time.monotonic() - seconds_before(self._clock)
        if state.global_step == 0:
            self._look(0)

    @property
    def seconds(self) -> float:
        """How long the training has taken, with the attempts before a kill up to their last checkpoint."""
        return time.monotonic() - self.started

    @property
    def _clock(self) -> Path:
        return self.trainer.plan.folder / CLOCK

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save where it is planned; what is looked at comes first, so that a checkpoint stands for it, too."""
        plan, recorder = self.trainer.plan, self.trainer.recorder
        control.should_save = state.global_step in plan.saved_steps
        if control.should_save or (plan.watch and plan.watch.is_due(state.global_step)):
            self._look(state.global_step)
        if recorder is not None and control.should_save:
            recorder.save(state.global_step)

    def _look(self, step: int) -> None:
        """Looking takes no part of the training's time."""
        trainer, start = self.trainer, time.monotonic()
        if trainer.plan.watch is not None:
            metrics = trainer.plan.watch.look(step, trainer.model, trainer.accelerator)
            curve = trainer.plan.loss_curve
            named = {curve.replace("/loss", f"/{name}", 1): value for name, value in metrics.items()}
            self.report(done=step, total=trainer.plan.steps, unit="steps", step=step, metrics=named)
        self.started += time.monotonic() - start

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the time with the checkpoint."""
        if state.is_world_process_zero:
            self._clock.write_text(json.dumps(self.seconds))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Tell the loss of a step."""
        if not logs or "loss" not in logs:
            return
        plan = self.trainer.plan
        metrics = {plan.loss_curve: float(logs["loss"])}
        if plan.told is not None:
            # In the trainer's own log they survive a kill with the checkpoint.
            state.log_history[-1][TOLD] = told = plan.told()
            metrics |= {f"{plan.loss_curve}/{name}": value for name, value in told.items()}
        self.report(done=state.global_step, total=plan.steps, unit="steps", step=state.global_step, metrics=metrics)


def seconds_before(file: Path) -> float:
    """What `on_save` left; a kill while it was written loses only this."""
    try:
        return float(file.read_text())
    except (FileNotFoundError, ValueError):
        return 0.0
