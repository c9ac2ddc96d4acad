"""Conversion: gates with trash rows, beside the untouched base model or in a checkpoint of their own.

router.safetensors   `<router>.weight` [experts + trash, hidden] in float32, for each router
select_moe.json      how they were made
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from winnow.errors import BadInput, BadSetting, StaleOutput
from winnow.moe.router import TrashRouter, attach, find_routers

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
    count = trash_experts or int(next(iter(routers.values())).top_k)
    gates = {}
    for name, router in routers.items():
        weight = router.weight.detach().float().cpu()
        gates[name] = torch.cat([weight, std * trash_rows(name, seed, count, weight.shape[1])])
    return gates, Conversion(count, std, seed)


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
        raise StaleOutput(f"{folder} holds no {GATES}: it is no converted model.")
    gates = {name.removesuffix(WEIGHT): tensor for name, tensor in load_file(folder / GATES).items()}
    return gates, Conversion(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))


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
