"""Adapters whose changes can be seen: of random weights, on an untrained model."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from winnow.stages import Finished
from winnow.training.model import load_model

TARGETS = ["q_proj", "v_proj", "down_proj"]


def write_adapter(base: Finished, folder: Path, targets: list[str] | None = None, scale: float = 0.3) -> Path:
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets or TARGETS)
    adapted = get_peft_model(load_model(base, "fp32", "cpu"), config)
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=scale)
    adapted.peft_config["default"].base_model_name_or_path = str(base.path)
    adapted.save_pretrained(folder)
    return folder
