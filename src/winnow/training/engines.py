"""What shares a training among processes: DDP, FSDP, or DeepSpeed's ZeRO, each really the one that was asked for.

`accelerate launch` reads the engine's file in conf/multi_gpu. On a CPU accelerate takes FSDP for DDP without a word, so
that its state is set here; whatever the device, the wrapped model is looked at before the first step.
"""

from collections.abc import Iterable
from typing import Any

import torch
from accelerate import DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from peft import PeftModel
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from winnow.errors import WorkerFailed
from winnow.params import Machine


def shard_on_cpu(trainer: Any) -> None:
    """Make the accelerator's state that of FSDP, where it was asked for and the device is a CPU."""
    accelerator = trainer.accelerator
    if trainer.plan.machine.engine != "fsdp" or trainer.plan.device != "cpu" or trainer.is_fsdp_enabled:
        return
    # What `accelerate launch` said of FSDP is in the environment, where the plug-in looks.
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    accelerator.state.distributed_type = DistributedType.FSDP
    trainer.is_fsdp_enabled = True


def require_engine(trainer: Any, machine: Machine) -> None:
    """Refuse a model that is not wrapped as it was promised: several launchers start something else silently."""
    model, engine = trainer.model_wrapped, machine.engine
    world = distributed.get_world_size() if distributed.is_initialized() else 1
    found = type(model).__name__
    if engine.startswith("zero"):
        stage = int(engine[4])
        right = hasattr(model, "zero_optimization_stage") and model.zero_optimization_stage() == stage
        right = right and bool(model.zero_cpu_offload()) == engine.endswith("offload")
    elif engine == "fsdp":
        right = isinstance(model, FSDPModule)
    else:
        right = isinstance(model, DistributedDataParallel) == (world > 1)
    if not right or world != machine.processes:
        raise WorkerFailed(
            f"`machine.engine` is {engine} on {machine.processes} processes, but the model was wrapped as {found} on "
            f"{world}. Look at `machine.accelerate_config`, or leave it out: conf/multi_gpu/{engine}.yml is used then."
        )


def whole_weights(model: Any, machine: Machine) -> dict[str, Any]:
    """`state_dict` for `save_pretrained` where processes hold parts: all, or the adapter's own; else nothing to say."""
    if not machine.is_sharded:
        return {}
    adapter = isinstance(model, PeftModel)
    wanted = {
        name: value for name, value in _without_wrappers(model.named_parameters()) if value.requires_grad or not adapter
    }
    return {"state_dict": {name: _whole(value) for name, value in wanted.items()}}


def _without_wrappers(named: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    return ((name.replace("_orig_mod.", ""), value) for name, value in named)


@torch.no_grad()
def _whole(parameter: Any) -> torch.Tensor:
    """A parameter of which each process has a part; all processes have to ask for it."""
    if hasattr(parameter, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().cpu().clone()
    whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    return whole.detach().cpu().clone()
