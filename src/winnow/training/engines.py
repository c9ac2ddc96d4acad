"""What shares a training among processes: DDP, FSDP, or DeepSpeed's ZeRO, each really the one that was asked for.

`accelerate launch` reads the engine's file in conf/multi_gpu. On a CPU accelerate takes FSDP for DDP without a word, so
that its state is set here; whatever the device, the wrapped model is looked at before the first step.
"""

from typing import Any

import torch
from accelerate import DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from peft import PeftModel
from torch import distributed
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.nn.parallel import DataParallel, DistributedDataParallel

from winnow.errors import WorkerFailed
from winnow.params import Machine


def settle(trainer: Any) -> None:
    """Make the accelerator's state that of the engine, where the libraries would leave another."""
    accelerator = trainer.accelerator
    if trainer.plan.machine.engine != "fsdp":
        return
    if not trainer.is_fsdp_enabled and trainer.plan.device == "cpu":
        # What `accelerate launch` said of FSDP is in the environment, where the plug-in looks.
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        accelerator.state.distributed_type = DistributedType.FSDP
        trainer.is_fsdp_enabled = True
    if trainer.is_fsdp_enabled and trainer.args.bf16:
        # Of its own accord FSDP would round the loss itself, and sum gradients in bf16.
        policy = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32)
        accelerator.state.fsdp_plugin.mixed_precision_policy = policy


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
        right = isinstance(model, DistributedDataParallel) == (world > 1) and not isinstance(model, DataParallel)
    if not right or world != machine.processes:
        raise WorkerFailed(
            f"`machine.engine` is {engine} on {machine.processes} processes, but the model was wrapped as {found} on "
            f"{world}. Look at `machine.accelerate_config`, or leave it out: conf/multi_gpu/{engine}.yml is used then."
        )


def whole_weights(model: Any, machine: Machine, keep: bool) -> dict[str, Any]:
    """`state_dict` for `save_pretrained` where processes hold parts: all, or the adapter's own; else nothing to say.

    All processes have to ask; only those that ``keep`` it get it.
    """
    if not machine.is_sharded:
        return {}
    adapter = isinstance(model, PeftModel)
    wanted = {name: value for name, value in model.named_parameters() if value.requires_grad or not adapter}
    if not adapter:
        saved = model.state_dict()
        wanted |= {name: value for name, value in model.named_buffers() if name in saved}
    return {"state_dict": {name: _whole(value, keep) for name, value in wanted.items()}}


@torch.no_grad()
def _whole(tensor: Any, keep: bool) -> torch.Tensor | None:
    if hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return _copied(tensor) if keep else None
    whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return _copied(whole) if keep else None


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)
