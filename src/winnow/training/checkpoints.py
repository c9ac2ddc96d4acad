"""What checkpoints hold, by us or another trainer: weights, and the optimizer's moments by parameter name."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from winnow.errors import BadInput
from winnow.training.optimizer_layouts import KINDS, read_optimizer

MOMENTS = "moments.safetensors"
ADAPTER = "adapter_model.safetensors"
_STATE = "optimizer"


def keep_moments(checkpoint: Path, model: torch.nn.Module, target: Path | None = None) -> None:
    """Write the optimizer's moments under the parameters' names, whatever trainer saved them."""
    state = read_optimizer(checkpoint, model)
    tensors = {f"{kind}.{name}": moments[kind] for name, moments in state.moments.items() for kind in KINDS}
    file = (target or checkpoint) / MOMENTS
    scratch = file.with_suffix(".writing")
    # One entry only: the order of several differs from file to file.
    save_file(tensors, scratch, metadata={_STATE: json.dumps({"step": state.step, **state.settings})})
    scratch.replace(file)


def load_moments(folder: Path) -> tuple[int, dict[str, dict[str, torch.Tensor]]]:
    """Optimizer steps so far, and for each parameter its `exp_avg` and `exp_avg_sq`."""
    with safe_open(folder / MOMENTS, framework="pt") as file:
        step = int(json.loads(file.metadata()[_STATE])["step"])
        names = sorted({key.split(".", 1)[1] for key in file.keys()})  # noqa: SIM118
        return step, {name: {kind: file.get_tensor(f"{kind}.{name}") for kind in KINDS} for name in names}


def optimizer_settings(folder: Path) -> dict[str, Any]:
    """`betas` and `eps` of the optimizer whose moments these are, where it told them."""
    with safe_open(folder / MOMENTS, framework="pt") as file:
        state = json.loads(file.metadata()[_STATE])
        return {name: value for name, value in state.items() if name != "step"}


def is_adapter(checkpoint: Path) -> bool:
    """Whether it holds an adapter and not a whole model."""
    return (checkpoint / ADAPTER).exists()


def load_checkpoint(model: PreTrainedModel | PeftModel, checkpoint: Path) -> Any:
    """Put a checkpoint's weights into a model that is loaded already; the first adapter is put around it."""
    if is_adapter(checkpoint):
        if not isinstance(model, PeftModel):
            return PeftModel.from_pretrained(model, str(checkpoint)).eval()
        set_peft_model_state_dict(model, load_file(checkpoint / ADAPTER))
        return model
    files = sorted(checkpoint.glob("model*.safetensors"))
    if not files:
        raise BadInput(f"{checkpoint} holds neither {ADAPTER} nor model*.safetensors; pickled weights are not loaded.")
    absent = set(model.state_dict())
    for file in files:
        loaded = model.load_state_dict(load_file(file), strict=False)
        absent &= set(loaded.missing_keys)
        if loaded.unexpected_keys:
            raise BadInput(f"{file} has the weight {loaded.unexpected_keys[0]!r}, which the base model does not have.")
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    if absent - tied:
        raise BadInput(f"{checkpoint} lacks {len(absent - tied)} weights of the model, {min(absent - tied)!r} first.")
    return model


def load_merged(model: PreTrainedModel, checkpoint: Path) -> Any:
    """The same, with an adapter merged into the layers it belongs to."""
    loaded = load_checkpoint(model, checkpoint)
    return loaded.merge_and_unload() if isinstance(loaded, PeftModel) else loaded
