"""Conversion: gates with trash rows, beside the untouched base model or in a checkpoint of their own.

router.safetensors   `<router>.weight` [experts + trash, hidden] in float32, for each router
select_moe.json      how they were made
model-*.safetensors  with `select_moe.full_checkpoint`: every tensor of the base model, and the gates in place of its
                     own; beside them config.json and the tokenizer
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from winnow.errors import BadInput, BadSetting, StaleOutput
from winnow.moe.checkpoint import Checkpoint, base_checkpoint, gate_names, read_json
from winnow.moe.full import Told, dtype_name, load_full, write_full
from winnow.moe.router import TrashRouter, attach, find_routers
from winnow.params import Precision, SelectMoeParams
from winnow.records.tokenizer import model_name
from winnow.stages import Finished, Work
from winnow.training.model import dtype_of, load_model

GATES = "router.safetensors"
CONFIG = "select_moe.json"
WEIGHT = ".weight"
Gates = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Conversion:
    """How gates were widened."""

    trash_experts: int
    trash_init_std: float
    seed: int
    # Of the model whose gates they were: rows of experts have no more bits than it had.
    dtype: str = "float32"


def convert(work: Work, base: Finished, params: SelectMoeParams, device: str, tell: Told) -> dict[str, Any]:
    """Write the gates of a base model with trash rows, and if wanted the whole model; return what a summary says."""
    if (Path(model_name(base)) / CONFIG).exists():
        raise BadInput(f"{model_name(base)} holds {CONFIG}: it is converted already. Name the untouched model.")
    model = load_model(base, params.dtype, device)
    gates, conversion = new_gates(model, params.trash_experts, params.trash_init_std, params.seed)
    # In files the gates may have other names than in memory.
    files = base_checkpoint(base) if params.full_checkpoint else None
    names = gate_names(model, list(gates), files) if files else {}
    routers = attach(model, gates)
    summary = {
        "pretrained": None,
        "revision": None,
        "trust_remote_code": bool(base.summary.get("trust_remote_code")),
        "routers": {name: [router.experts, router.trash, router.weight.shape[1]] for name, router in routers.items()},
        "trash_experts": conversion.trash_experts,
        "top_k": own_top_k(routers),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "full_checkpoint": params.full_checkpoint,
    }
    dtype = dtype_of(params.dtype, device)
    # While files are copied, no more than one of them is in memory.
    del model, routers
    save_gates(work.path, gates, conversion)
    if files:
        write_full(work, base, files, {names[name]: gate for name, gate in gates.items()}, dtype, tell)
    return summary


def load_selector(
    converted: Finished, base: Finished | None, precision: Precision, device: str
) -> tuple[Any, dict[str, TrashRouter]]:
    """A converted model and its routers: the base model's with other gates, or without one that of the full form."""
    if base is None:
        return load_full(converted, precision, device)
    model = load_model(base, precision, device)
    return model, widen(model, converted.path)


def new_gates(
    model: Any, trash_experts: int | None, std: float, seed: int
) -> tuple[dict[str, torch.Tensor], Conversion]:
    """The model's gates, each followed by trash rows drawn from N(0, std); the draw depends on seed and name alone."""
    routers = find_routers(model)
    if not routers:
        raise BadSetting(
            f"`select_moe.base` is a {type(model).__name__}, which has no router of experts. Name a mixture of "
            "experts, such as allenai/OLMoE-1B-7B-0125."
        )
    count = trash_experts or own_top_k(routers)
    gates = {}
    for name, router in routers.items():
        weight = router.weight.detach().float().cpu()
        gates[name] = torch.cat([weight, std * trash_rows(name, seed, count, weight.shape[1])])
    return gates, Conversion(count, std, seed, dtype_name(next(iter(routers.values())).weight.dtype))


def own_top_k(routers: Mapping[str, Any]) -> int:
    """How many experts a token has: as many trash rows are added where nothing else is said."""
    # What has none is no router that can be widened; `attach` says so, with its name.
    return int(getattr(next(iter(routers.values())), "top_k", 1))


def trash_rows(name: str, seed: int, count: int, hidden: int) -> torch.Tensor:
    """Standard normal rows for one router."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.randn(count, hidden, generator=generator)


def save_gates(folder: Path, gates: Mapping[str, torch.Tensor], conversion: Conversion) -> None:
    """Write gates and how they were made."""
    tensors = {name + WEIGHT: gate.detach().float().cpu().contiguous() for name, gate in gates.items()}
    scratch = folder / f"{GATES}.writing"
    save_file(tensors, scratch)
    scratch.replace(folder / GATES)
    (folder / CONFIG).write_text(json.dumps(asdict(conversion), indent=1), encoding="utf-8")


def load_gates(folder: Path) -> tuple[Gates, Conversion]:
    """What `save_gates` wrote."""
    if not (folder / GATES).exists():
        raise StaleOutput(f"{folder} holds no {GATES}: it is no converted model. Convert again.")
    files = Checkpoint(folder, [GATES])
    return {name.removesuffix(WEIGHT): files.tensor(name) for name in files.headers}, load_conversion(folder)


def load_conversion(folder: Path) -> Conversion:
    """How the gates in a folder were made."""
    content = read_json(folder / CONFIG)
    try:
        return Conversion(**content)
    except TypeError:
        raise StaleOutput(
            f"{folder / CONFIG} has the entries {sorted(content)}, and should have {sorted(Conversion.__annotations__)}"
            ". Convert again."
        ) from None


def widen(model: Any, folder: Path) -> dict[str, TrashRouter]:
    """Give a base model the gates of a folder."""
    gates, conversion = load_gates(folder)
    routers = attach(model, gates)
    for name, router in routers.items():
        if router.trash != conversion.trash_experts:
            raise BadInput(
                f"The gate {name!r} in {folder} has {len(router.weight)} rows for {router.experts} experts; "
                f"{CONFIG} says {conversion.trash_experts} trash experts. It belongs to another model."
            )
    return routers
