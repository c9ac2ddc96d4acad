"""What one training needs besides the model, and what the Trainer is told of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import TrainingArguments

from winnow.errors import BadSetting, MissingResource
from winnow.params import FinetuneParams, Machine
from winnow.training.watch import Watch


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
    weights: Mapping[str, float] | None = None
    record: bool = False
    curve: str = ""
    watch: Watch | None = None
    told: Callable[[], dict[str, float]] | None = None
    count_tokens_as: str | None = None
    is_main: bool = True
    barrier: Callable[[], None] = lambda: None

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return len(self.order) // self.params.batch

    @property
    def saved_steps(self) -> set[int]:
        """The steps after which a checkpoint is saved; the last is always one of them."""
        if self.params.save_every is not None:
            return {*range(self.params.save_every, self.steps, self.params.save_every), self.steps}
        count = self.params.checkpoints
        return {max(1, round(self.steps * number / count)) for number in range(1, count + 1)}

    @property
    def kept_steps(self) -> set[int]:
        """Of these, the steps whose checkpoints are left at the end."""
        return set(sorted(self.saved_steps)[-(self.params.keep_checkpoints or self.steps) :])

    @property
    def loss_curve(self) -> str:
        """The metric that the loss of each step is told as."""
        return self.curve or f"finetune/loss/seed_{self.seed}"


def arguments(plan: Plan) -> TrainingArguments:
    """The Trainer's own settings."""
    params, machine = plan.params, plan.machine
    per_process, rest = divmod(params.batch, machine.processes)
    micro = min(machine.micro_batch or per_process, per_process)
    if rest or per_process % micro:
        raise BadSetting(
            f"`finetune.batch` is {params.batch}: it cannot be shared by {machine.processes} processes in "
            f"micro-batches of {micro}. Choose a multiple of {machine.processes * micro}, or change "
            "`machine.micro_batch`."
        )
    made = TrainingArguments(
        output_dir=str(plan.folder),
        max_steps=plan.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=per_process // micro,
        gradient_checkpointing=machine.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if machine.gradient_checkpointing else None,
        learning_rate=params.lr,
        lr_scheduler_type="constant_with_warmup" if params.schedule == "constant" else params.schedule,
        warmup_steps=round(params.warmup_share * plan.steps),
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        optim="adamw_torch",
        seed=plan.seed,
        use_cpu=plan.device == "cpu",
        average_tokens_across_devices=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=plan.steps,
        save_total_limit=params.keep_checkpoints,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=plan.device != "cpu",
        remove_unused_columns=False,
        **_precision(params, plan.device),
    )
    # The Trainer would take all devices of the machine for one process, and give each a whole micro-batch.
    made._n_gpu = min(made.n_gpu, 1)
    return made


def _precision(params: FinetuneParams, device: str) -> dict[str, bool]:
    cuda = device.startswith("cuda")
    if params.precision == "fp16" and not cuda:
        raise BadSetting("`finetune.precision` is fp16, whose scaled losses need CUDA. Choose bf16 or fp32 on a CPU.")
    if params.liger and not (cuda and find_spec("liger_kernel")):
        raise MissingResource(
            "`finetune.liger` is true, but Liger's kernels are for CUDA and the package liger-kernel "
            f"{'runs nowhere else' if not cuda else 'is not installed (`pip install liger-kernel`)'}. Set it to false."
        )
    bf16 = params.precision == "bf16" or (params.precision == "auto" and cuda)
    if bf16 and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name()
        raise BadSetting(f"`finetune.precision` is {params.precision}, and {name} has no bf16. Choose fp16 or fp32.")
    return {"bf16": bf16, "fp16": params.precision == "fp16", "use_liger_kernel": params.liger}
