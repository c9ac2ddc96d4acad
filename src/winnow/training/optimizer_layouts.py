"""Adam's moments out of the files that trainers leave, matched to parameters by name.

    Trainer, DDP        optimizer.pt: by number, decayed parameters first, then the others
    FSDP, one file      optimizer.bin: by name
    FSDP, sharded       optimizer_0/: a distributed checkpoint, by name
    DeepSpeed ZeRO 1, 2 global_step*/: each group's parameters flat, one after the other, cut into a part per rank
    DeepSpeed ZeRO 3    the same, but each parameter by itself is cut into parts

These files are pickles. Where torch's own reading of weights does not know what else is in them, an unpickler reads
them that makes tensors and plain containers, and an inert placeholder of everything else: nothing in them is run.
"""

import collections
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, load
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from transformers import Trainer

from winnow.checkpoints import optimizer_layout
from winnow.errors import BadInput

KINDS = ("exp_avg", "exp_avg_sq")
_WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.")
_STATE_KEY = re.compile(r"(?:^|\.)state\.(?P<name>.+)\.(?P<kind>exp_avg|exp_avg_sq|step)$")
_SAFE = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
    ("builtins", "set"): set,
}
_SAFE_MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")


@dataclass(frozen=True)
class OptimizerState:
    """Steps so far, the optimizer's `betas` and `eps` where it told them, and the moments of each parameter."""

    step: int
    settings: dict[str, Any]
    moments: dict[str, dict[str, torch.Tensor]]


def read_optimizer(checkpoint: Path, model: torch.nn.Module) -> OptimizerState:
    """The moments of the model's trained parameters; anything that does not fit them is refused."""
    layout = optimizer_layout(checkpoint)
    if layout is None:
        raise BadInput(f"{checkpoint} holds no state of an optimizer: neither optimizer.pt nor a folder of shards.")
    try:
        state = _LAYOUTS[layout](checkpoint, model)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, pickle.UnpicklingError) as error:
        raise BadInput(
            f"The optimizer's state in {checkpoint} is not laid out as expected ({type(error).__name__}: {error}). "
            "Save it with Trainer, DeepSpeed or FSDP as they come, or set `warmup.<name>.moments: false`."
        ) from None
    _require_shapes(checkpoint, model, state)
    return state


def optimizer_order(model: torch.nn.Module) -> list[str]:
    """Names of the trained parameters in the order in which the Trainer hands them to its optimizer."""
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [name for name in names if name in decayed] + [name for name in names if name not in decayed]


def _require_shapes(checkpoint: Path, model: torch.nn.Module, state: OptimizerState) -> None:
    # ZeRO-3 leaves an empty parameter, and its shape beside it.
    shapes = {name: tuple(getattr(p, "ds_shape", p.shape)) for name, p in model.named_parameters() if p.requires_grad}
    found = {name: tuple(moments[KINDS[0]].shape) for name, moments in state.moments.items()}
    if found != shapes:
        odd = next(iter(name for name in {**shapes, **found} if shapes.get(name) != found.get(name)))
        raise BadInput(
            f"{checkpoint} has moments of {len(found)} parameters whose shapes are not those of the {len(shapes)} that "
            f"are trained, {odd!r} first: {found.get(odd)} for {shapes.get(odd)}. The optimizer grouped them in "
            "another way, or the base model is another."
        )


def _by_number(checkpoint: Path, model: torch.nn.Module) -> OptimizerState:
    saved = torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)
    names = optimizer_order(model)
    states = [saved["state"][number] for number in sorted(saved["state"])]
    # Names are by order alone, so a number too many or too few is told by the shapes.
    names += [f"parameter {number}" for number in range(len(names), len(states))]
    return _assembled(dict(zip(names, states, strict=False)), saved["param_groups"])


def _by_name(checkpoint: Path, _: torch.nn.Module) -> OptimizerState:
    saved = torch.load(checkpoint / "optimizer.bin", map_location="cpu", weights_only=True)
    return _assembled({_bare(name): state for name, state in saved["state"].items()}, saved["param_groups"])


def _sharded(checkpoint: Path, _: torch.nn.Module) -> OptimizerState:
    reader = _SafeReader(_shard_folder(checkpoint))
    entries = reader.read_metadata().state_dict_metadata
    keys = {key: match for key in entries if (match := _STATE_KEY.search(key))}
    values: dict[str, Any] = {
        key: torch.empty(entry.size, dtype=entry.properties.dtype)
        for key, entry in entries.items()
        if key in keys and isinstance(entry, TensorStorageMetadata)
    }
    load(values, storage_reader=reader, no_dist=True)
    states: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        states.setdefault(_bare(keys[key]["name"]), {})[keys[key]["kind"]] = value
    return _assembled(states, [])


def _by_rank(checkpoint: Path, _: torch.nn.Module) -> OptimizerState:
    """ZeRO. What a rank holds of a group is flat; shapes and names are in the model's file."""
    folder = _zero_folder(checkpoint)
    files = sorted(folder.glob("*_optim_states.pt"), key=lambda path: _numbers(path.name))
    ranks = [_load(file)["optimizer_state_dict"] for file in files]
    model_file = min(folder.glob("*_model_states.pt"), key=lambda path: _numbers(path.name))
    shapes: Sequence[Mapping[str, torch.Size]] = _load(model_file)["param_shapes"]
    # The stage's number may be an object of DeepSpeed's own; the keys differ, too.
    whole = "base_optimizer_state" not in ranks[0]
    bases = [rank["optimizer_state_dict"] if whole else rank["base_optimizer_state"] for rank in ranks]
    groups = [[base["state"][number] for number in sorted(base["state"])] for base in bases]
    states: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        if whole:
            parts = [torch.cat([state[kind].flatten() for state in rank]) for rank in groups]
            named = _cut_each({name: shape for group in shapes for name, shape in group.items()}, parts)
        else:
            flat = [torch.cat([rank[number][kind].flatten() for rank in groups]) for number in range(len(shapes))]
            named = {name: t for group, f in zip(shapes, flat, strict=True) for name, t in _cut_flat(group, f).items()}
        for name, tensor in named.items():
            states.setdefault(_bare(name), {"step": groups[0][0].get("step", 0)})[kind] = tensor
    return _assembled(states, bases[0]["param_groups"])


def _cut_flat(shapes: Mapping[str, torch.Size], flat: torch.Tensor) -> dict[str, torch.Tensor]:
    """One parameter after the other; what is left is padding."""
    found, start = {}, 0
    for name, shape in shapes.items():
        count = torch.Size(shape).numel()
        found[name] = flat[start : start + count].view(shape)
        start += count
    return found


def _cut_each(shapes: Mapping[str, torch.Size], parts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each rank has the same number of elements of each parameter; the last ones are padding."""
    found, start = {}, 0
    for name, shape in shapes.items():
        count = torch.Size(shape).numel()
        each = -(-count // len(parts))
        found[name] = torch.cat([part[start : start + each] for part in parts])[:count].view(shape)
        start += each
    return found


def _assembled(states: Mapping[str, Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> OptimizerState:
    first: Mapping[str, Any] = next(iter(groups), {})
    settings = {name: first[name] for name in ("betas", "eps") if name in first}
    step = max((int(state.get("step", first.get("step", 0))) for state in states.values()), default=0)
    moments = {name: {kind: state[kind].float().contiguous() for kind in KINDS} for name, state in states.items()}
    return OptimizerState(step, settings, moments)


def _bare(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("module.")


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _zero_folder(checkpoint: Path) -> Path:
    """The newest of DeepSpeed's folders; `latest` names it where there is one."""
    latest = checkpoint / "latest"
    if latest.exists() and (checkpoint / latest.read_text().strip()).is_dir():
        return checkpoint / latest.read_text().strip()
    return max(checkpoint.glob("global_step*"), key=lambda path: _numbers(path.name))


def _shard_folder(checkpoint: Path) -> Path:
    return next(path.parent for path in sorted(checkpoint.glob("optimizer*/.metadata")))


class _Inert:
    """Stands for an object of a class that is of no interest here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        return

    def __setstate__(self, _: Any) -> None:
        return


class _SafeUnpickler(pickle.Unpickler):
    """Makes tensors, plain containers, and descriptions of shards; all else is inert."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _SAFE:
            return _SAFE[module, name]
        if module in _SAFE_MODULES or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        return _Inert


def _load(path: Path) -> Any:
    """Of `torch.load` only the reading of tensors is used; our unpickler decides what is made."""
    safe = SimpleNamespace(Unpickler=_SafeUnpickler, load=_safely, __name__="winnow")
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=safe)


def _safely(file: Any, **options: Any) -> Any:
    return _SafeUnpickler(file, **options).load()


class _SafeReader(FileSystemReader):
    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """The same without running what the file says."""
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata: Metadata = _SafeUnpickler(file).load()
        if getattr(metadata, "storage_meta", None) is None:
            metadata.storage_meta = self.storage_meta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


_LAYOUTS: dict[str, Callable[[Path, torch.nn.Module], OptimizerState]] = {
    "trainer": _by_number,
    "fsdp": _by_name,
    "fsdp_sharded": _sharded,
    "zero": _by_rank,
}
