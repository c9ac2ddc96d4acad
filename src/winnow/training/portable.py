"""What is left of a training: files that are the same after a kill and a resume, and that nothing is run from."""

import json
import shutil
from pathlib import Path
from typing import Any

from winnow.checkpoints import optimizer_layout
from winnow.training.checkpoints import MOMENTS, keep_moments
from winnow.training.plan import Plan
from winnow.training.recorder import join_recorded
from winnow.training.trainer import CLOCK

# The engine that checkpoints are of.
ENGINE = "engine.txt"
# Pickles, random states, texts with paths: of the Trainer, of DeepSpeed, of FSDP.
_FILES = [
    *("optimizer.pt", "scheduler.pt", "scaler.pt", "training_args.bin", "rng_state*.pth", "README.md", CLOCK),
    *("latest", "zero_to_*.py", ENGINE),
]
_FOLDERS = ("global_step*", "pytorch_model_fsdp_*", "optimizer_*")


def keep_what_is_portable(model: Any, plan: Plan) -> None:
    """Keep weights, and moments under the parameters' names where they are wanted; drop the rest."""
    join_recorded(plan.folder)
    if plan.watch is not None:
        plan.watch.join()
    for checkpoint in plan.folder.glob("checkpoint-*"):
        if int(checkpoint.name.split("-")[1]) not in plan.kept_steps:
            # A kill came while the last but so many were removed.
            shutil.rmtree(checkpoint)
            continue
        # A kill may have left some of what they were read from.
        wanted = plan.params.moments and not (checkpoint / MOMENTS).exists()
        if wanted and optimizer_layout(checkpoint) is not None:
            keep_moments(checkpoint, model)
    _drop(plan.folder)
    for file in plan.folder.glob("checkpoint-*/trainer_state.json"):
        state = json.loads(file.read_text())
        kept = {name: state[name] for name in ("global_step", "max_steps", "log_history")}
        _replace(file, json.dumps(kept, indent=1))
    for file in plan.folder.rglob("adapter_config.json"):
        config = {**json.loads(file.read_text()), "base_model_name_or_path": plan.base}
        _replace(file, json.dumps(config, indent=2, sort_keys=True))


def _drop(folder: Path) -> None:
    for pattern in _FOLDERS:
        for found in folder.glob(f"checkpoint-*/{pattern}"):
            shutil.rmtree(found)
    for pattern in _FILES:
        for found in folder.rglob(pattern):
            found.unlink()


def _replace(file: Path, text: str) -> None:
    """A kill in between must leave the old text or the new one."""
    scratch = file.with_suffix(".writing")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)
