"""Train a tiny adapter for a few steps with the plain Trainer, or with DeepSpeed under `accelerate launch`.

python -m support.train_in_parts <folder> <plain|zero2|zero3>
"""

import os
import sys
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from support.models import VOCABULARY, make_model

STEPS, BATCH = 3, 4


class Rows(Dataset):
    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(1, VOCABULARY, (12,), generator=torch.Generator().manual_seed(place))
        return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


def zero(stage: int) -> dict[str, object]:
    return {
        "train_batch_size": BATCH,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": {"stage": stage},
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
    }


class InOrder(Trainer):
    def _get_train_sampler(self, *_: object) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(folder: Path, kind: str) -> None:
    model = make_model("qwen2", lora=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    world = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH // world,
        learning_rate=1e-2,
        weight_decay=0.1,
        max_grad_norm=0.0,
        save_steps=STEPS,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
        deepspeed=zero(int(kind[-1])) if kind.startswith("zero") else None,
    )
    trainer = InOrder(model=model, args=arguments, train_dataset=Rows())
    trainer.train()
    if world > 1:
        # All is saved. Threads that gloo left behind abort an interpreter now and then while it is torn down.
        torch.distributed.barrier()
        os._exit(0)


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2])
