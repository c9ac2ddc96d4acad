"""The whole model with widened gates, in files of its own: written tensor by tensor, and loaded."""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from winnow.errors import BadSetting, StaleOutput
from winnow.moe.checkpoint import INDEX, MODEL_CONFIG, Checkpoint, companions, gate_names, read_json
from winnow.moe.router import TrashRouter, attach, find_routers
from winnow.params import Precision
from winnow.stages import Finished, Work
from winnow.training.model import dtype_of

SHARD_BYTES = 4 << 30
# Tells a file's number, and how many there are.
Told = Callable[[int, int], None]


def write_full(
    work: Work, base: Finished, files: Checkpoint, gates: Mapping[str, torch.Tensor], dtype: torch.dtype, tell: Told
) -> None:
    """Write the base model's tensors in one dtype, and in place of some of them these gates, in float32."""
    shards = _shards(files, gates, dtype)
    places = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        places.update(dict.fromkeys(names, file))
        if not work.is_committed(file):
            tensors = {name: gates[name] if name in gates else cast(files.tensor(name), dtype) for name in names}
            work.commit(file, partial(save_file, tensors, metadata={"format": "pt"}))
        tell(number, len(shards))
    size = sum(_bytes(files, name, gates, dtype) for name in places)
    work.commit(INDEX, partial(_write_json, {"metadata": {"total_size": size}, "weight_map": places}))
    work.commit(MODEL_CONFIG, partial(_write_json, full_config(files, dtype)))
    for path in companions(base):
        work.commit(path.name, partial(shutil.copyfile, path))


def full_config(files: Checkpoint, dtype: torch.dtype) -> dict[str, Any]:
    """The base model's configuration with another dtype: the experts stay as many as they are."""
    config = read_json(files.folder / MODEL_CONFIG)
    config.pop("torch_dtype", None)
    return {**config, "dtype": dtype_name(dtype)}


def dtype_name(dtype: torch.dtype) -> str:
    """As configurations have it."""
    return str(dtype).removeprefix("torch.")


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor as a model of this dtype has it."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def load_full(converted: Finished, precision: Precision, device: str) -> tuple[Any, dict[str, TrashRouter]]:
    """The model of a full checkpoint, and its routers."""
    if not (converted.path / INDEX).exists():
        raise BadSetting(
            f"{converted.path} holds gates alone, no whole model. Load it with its base model, or convert with "
            "`select_moe.full_checkpoint: true`."
        )
    model, found = _without_gates(converted, dtype_of(precision, device))
    routers = find_routers(model)
    files = Checkpoint(converted.path)
    names = gate_names(model, list(routers), files)
    odd = {entry[0] for entry in found["mismatched_keys"]} ^ {f"{name}.weight" for name in routers}
    odd |= set(found["missing_keys"]) | set(found["unexpected_keys"])
    if odd:
        raise StaleOutput(
            f"The model in {converted.path} is not whole: {min(odd)!r} is missing, too many, or of another shape. "
            "Delete the folder, and convert again."
        )
    gates = {name: files.tensor(names[name]) for name in routers}
    with torch.no_grad():
        for name, router in routers.items():
            router.weight.copy_(gates[name][: len(router.weight)])
    model.config.use_cache = False
    model = model.to(device).eval()
    return model, attach(model, gates)


def _without_gates(converted: Finished, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """The model, with any gates: those in the files have more rows than transformers expects."""
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            str(converted.path),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=bool(converted.summary.get("trust_remote_code")),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise StaleOutput(
            f"The model in {converted.path} cannot be loaded: {str(error).splitlines()[0]} Delete the folder, and "
            "convert again."
        ) from None
    return model, found


def _shards(files: Checkpoint, gates: Mapping[str, torch.Tensor], dtype: torch.dtype) -> list[list[str]]:
    """Names of tensors that go into a file together."""
    shards: list[list[str]] = [[]]
    size = 0
    for name in files.headers:
        added = _bytes(files, name, gates, dtype)
        if shards[-1] and size + added > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += added
    return shards


def _bytes(files: Checkpoint, name: str, gates: Mapping[str, torch.Tensor], dtype: torch.dtype) -> int:
    return gates[name].nbytes if name in gates else files.headers[name].size * dtype.itemsize


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
