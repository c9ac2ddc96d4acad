"""What checkpoints hold, by us or another trainer: weights, and the optimizer's moments by parameter name."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, Trainer

from winnow.errors import BadInput

MOMENTS = "moments.safetensors"
ADAPTER = "adapter_model.safetensors"
_KINDS = ("exp_avg", "exp_avg_sq")


def optimizer_order(model: torch.nn.Module) -> list[str]:
    """Names of the trained parameters in the order in which the Trainer hands them to its optimizer."""
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [name for name in names if name in decayed] + [name for name in names if name not in decayed]


def keep_moments(checkpoint: Path, model: torch.nn.Module, target: Path | None = None) -> None:
    """Write what `optimizer.pt` holds under the parameters' names; it is loaded without its code."""
    saved = torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)
    state = saved["state"]
    names = optimizer_order(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    found = [tuple(state[number][_KINDS[0]].shape) for number in sorted(state)]
    if found != [shapes[name] for name in names]:
        raise BadInput(
            f"{checkpoint / 'optimizer.pt'} has moments of {len(found)} parameters whose shapes are not those of the "
            f"{len(names)} that are trained. The optimizer grouped them in another way, or the base model is another."
        )
    tensors = {
        f"{kind}.{name}": state[number][kind].contiguous()
        for number, name in zip(sorted(state), names, strict=True)
        for kind in _KINDS
    }
    group: dict[str, Any] = next(iter(saved["param_groups"]), {})
    settings = {name: group[name] for name in ("betas", "eps") if name in group}
    file = (target or checkpoint) / MOMENTS
    scratch = file.with_suffix(".writing")
    metadata = {"step": str(int(state[min(state)]["step"])), "optimizer": json.dumps(settings)}
    save_file(tensors, scratch, metadata=metadata)
    scratch.replace(file)


def load_moments(folder: Path) -> tuple[int, dict[str, dict[str, torch.Tensor]]]:
    """Optimizer steps so far, and for each parameter its `exp_avg` and `exp_avg_sq`."""
    with safe_open(folder / MOMENTS, framework="pt") as file:
        step = int(file.metadata()["step"])
        names = sorted({key.split(".", 1)[1] for key in file.keys()})  # noqa: SIM118
        return step, {name: {kind: file.get_tensor(f"{kind}.{name}") for kind in _KINDS} for name in names}


def optimizer_settings(folder: Path) -> dict[str, Any]:
    """`betas` and `eps` of the optimizer whose moments these are, where it told them."""
    with safe_open(folder / MOMENTS, framework="pt") as file:
        return dict(json.loads(file.metadata().get("optimizer", "{}")))


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
